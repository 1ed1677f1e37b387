//! The chunked coding, read strictly: RFC 9112 section 7.1.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::Refusal;
use super::framing::take;
use super::head::parse_trailers;

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;

/// Bytes of extensions that one body may carry in all. They mean nothing to us, so they are only a way to make us
/// read much for little.
const MAX_EXTENSIONS: u32 = 16 * 1024;
/// Bytes of trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Reads chunks out of a buffer; any split of the input gives the same bytes, trailers and refusals.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    extensions: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Reading hexadecimal digits.
    Size { value: u64, digits: u8 },
    /// White space after the size: only an extension may follow. RFC 9112 section 7.1.1, "BWS".
    SizeSpace { value: u64 },
    /// In an extension.
    Extension { value: u64 },
    /// The LF of the size line is due.
    SizeLf { value: u64 },
    /// In a chunk, never 0.
    Data { left: u64 },
    /// The CR after a chunk is due.
    DataCr,
    /// The LF after a chunk is due.
    DataLf,
    /// After the last chunk; so many bytes were looked through for the end before.
    Trailers { seen: usize },
    /// All was read.
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

/// What a [`ChunkedDecoder`] found.
#[derive(Debug)]
pub enum ChunkedItem {
    /// A chunk or a part of one, not empty.
    Data(Bytes),
    /// The end, and the trailers that may be passed on.
    End(Option<HeaderMap>),
    /// More bytes are needed.
    More,
}

impl ChunkedDecoder {
    /// The next part in the buffer. Bytes beyond the body's end stay in it.
    ///
    /// # Errors
    /// The framing is not what RFC 9112 section 7.1 says, or goes beyond the bounds. Nothing can be read after it.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<ChunkedItem, Refusal> {
        loop {
            match self.state {
                State::Data { left } => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    if n == 0 {
                        return Ok(ChunkedItem::More);
                    }
                    let left = left - n as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    return Ok(ChunkedItem::Data(take(buffer, n)));
                }
                State::Trailers { seen } => return self.trailers(buffer, seen),
                State::Done => return Ok(ChunkedItem::End(None)),
                _ => {
                    let Some(byte) = buffer.first().copied() else { return Ok(ChunkedItem::More) };
                    buffer.advance(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    /// One byte of what stands between chunks.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                // 15 digits are 60 bits: no sum of them can overflow. Leading zeros count as digits.
                if digits == 15 {
                    return Err(Refusal::ChunkSize);
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Refusal::ChunkSize),
            (State::Size { value, .. } | State::SizeSpace { value }, b';') => State::Extension { value },
            (State::Size { value, .. } | State::SizeSpace { value }, b' ' | b'\t') => {
                self.count_extension()?;
                State::SizeSpace { value }
            }
            (State::Size { value, .. } | State::Extension { value }, b'\r') => State::SizeLf { value },
            (State::Size { .. } | State::SizeSpace { .. }, _) => return Err(Refusal::ChunkSize),
            (State::Extension { value }, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.count_extension()?;
                State::Extension { value }
            }
            (State::Extension { .. }, _) => return Err(Refusal::ChunkExtension),
            (State::SizeLf { value: 0 }, b'\n') => State::Trailers { seen: 0 },
            (State::SizeLf { value }, b'\n') => State::Data { left: value },
            (State::SizeLf { .. }, _) => return Err(Refusal::BareLineEnd),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            (State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEnd),
            (state @ (State::Data { .. } | State::Trailers { .. } | State::Done), _) => state,
        })
    }

    fn count_extension(&mut self) -> Result<(), Refusal> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Refusal::ChunkExtension) } else { Ok(()) }
    }

    /// The fields after the last chunk, when the empty line that ends them is there.
    fn trailers(&mut self, buffer: &mut BytesMut, seen: usize) -> Result<ChunkedItem, Refusal> {
        let window = &buffer[..buffer.len().min(MAX_TRAILERS)];
        let mut line_start = window[..seen].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        for i in seen..window.len() {
            if window[i] != b'\n' {
                continue;
            }
            if i == line_start || window[i - 1] != b'\r' {
                return Err(Refusal::BareLineEnd);
            }
            if i == line_start + 1 {
                self.state = State::Done;
                let fields = take(buffer, i + 1);
                let trailers = if fields.len() == 2 { None } else { Some(parse_trailers(&fields)?) };
                return Ok(ChunkedItem::End(trailers.filter(|t| !t.is_empty())));
            }
            line_start = i + 1;
        }
        if window.len() == MAX_TRAILERS {
            return Err(Refusal::TrailersTooLarge);
        }
        self.state = State::Trailers { seen: window.len() };
        Ok(ChunkedItem::More)
    }
}
