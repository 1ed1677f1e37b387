//! How long a body is: RFC 9112 section 6.3, without its leniencies.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::SizeHint;

use super::Refusal;
use super::chunked::{ChunkedDecoder, ChunkedItem};

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// So many bytes; 0 is no body.
    Exact(u64),
    /// Until the last chunk.
    Chunked,
    /// Until the connection ends; responses only.
    UntilClose,
}

impl BodyLength {
    /// A request's body, from its header fields.
    pub(super) fn of_request(version: Version, headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(declared(version, headers)?.unwrap_or(Self::Exact(0)))
    }

    /// A response's body. Its framing fields are checked even where they do not count.
    pub(super) fn of_response(
        method: &Method,
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let declared = declared(version, headers)?;
        let without = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || (*method == Method::CONNECT && status.is_success());
        if without { Ok(Self::Exact(0)) } else { Ok(declared.unwrap_or(Self::UntilClose)) }
    }
}

fn declared(version: Version, headers: &HeaderMap) -> Result<Option<BodyLength>, Refusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if length.is_some() && (lengths.next().is_some() || length.is_some_and(|v| v.as_bytes().contains(&b',')))
    {
        return Err(Refusal::ContentLengthRepeated);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    match (length, coding) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Refusal::AmbiguousLength),
        (Some(length), None) => parse_length(length).map(|n| Some(BodyLength::Exact(n))),
        (None, Some(_)) if version == Version::HTTP_10 => Err(Refusal::TransferEncodingOld),
        (None, Some(coding)) => {
            // Codings are compared without regard to case: RFC 9112 section 7.
            let second = codings.next();
            if second.is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Ok(Some(BodyLength::Chunked));
            }
            // Where chunked is not the last coding nobody knows where the message ends: section 6.3. A coding that is
            // only not known is another matter: section 6.1.
            let all = std::iter::once(coding).chain(second).chain(codings);
            let list: Vec<&[u8]> = all.flat_map(|value| value.as_bytes().split(|b| *b == b',')).collect();
            let is_chunked = |coding: &&[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            let misplaced = list.iter().rev().skip(1).any(is_chunked);
            Err(if misplaced { Refusal::TransferEncodingOrder } else { Refusal::TransferEncoding })
        }
    }
}

/// Digits only: no sign, no space, no list. What does not fit in 63 bits is nobody's length.
fn parse_length(value: &HeaderValue) -> Result<u64, Refusal> {
    let digits = value.as_bytes();
    if digits.is_empty() {
        return Err(Refusal::ContentLength);
    }
    let mut length: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Refusal::ContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|n| n.checked_add(u64::from(digit - b'0')))
            .filter(|n| *n <= i64::MAX as u64)
            .ok_or(Refusal::ContentLength)?;
    }
    Ok(length)
}

/// Reads a body out of a buffer.
#[derive(Debug)]
pub(super) enum Decoder {
    /// All was read.
    Done,
    /// So many bytes are left, never 0.
    Length(u64),
    /// Chunks are left.
    Chunked(ChunkedDecoder),
    /// All is body.
    UntilClose,
}

/// What a [`Decoder`] found.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A part of the content, not empty.
    Data(Bytes),
    /// The fields after it; the body is done.
    Trailers(HeaderMap),
    /// The body is done.
    End,
    /// More bytes are needed.
    More,
}

/// Why a body could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DecodeError {
    /// The connection ended first.
    Closed,
    /// The framing is wrong.
    Refused(Refusal),
}

impl Decoder {
    pub(super) fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Exact(0) => Self::Done,
            BodyLength::Exact(n) => Self::Length(n),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::default()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// What is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Length(n) => SizeHint::with_exact(*n),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// The next part that is in the buffer; `ended` says that no more will come into it.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut, ended: bool) -> Result<Decoded, DecodeError> {
        let decoded = match self {
            Self::Done => return Ok(Decoded::End),
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                if n == 0 {
                    return if ended { Err(DecodeError::Closed) } else { Ok(Decoded::More) };
                }
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                return Ok(Decoded::Data(take(buffer, n)));
            }
            Self::UntilClose => match (buffer.is_empty(), ended) {
                (false, _) => return Ok(Decoded::Data(std::mem::take(buffer).freeze())),
                (true, false) => return Ok(Decoded::More),
                (true, true) => Decoded::End,
            },
            Self::Chunked(chunked) => match chunked.decode(buffer).map_err(DecodeError::Refused)? {
                ChunkedItem::More if ended => return Err(DecodeError::Closed),
                ChunkedItem::More => return Ok(Decoded::More),
                ChunkedItem::Data(data) => return Ok(Decoded::Data(data)),
                ChunkedItem::End(trailers) => trailers.map_or(Decoded::End, Decoded::Trailers),
            },
        };
        *self = Self::Done;
        Ok(decoded)
    }
}

/// Splits off the first `n` bytes without copying; all of them without splitting.
pub(super) fn take(buffer: &mut BytesMut, n: usize) -> Bytes {
    if n == buffer.len() { std::mem::take(buffer).freeze() } else { buffer.split_to(n).freeze() }
}

/// A [`Decoder`] that looks one item ahead, so that a body whose end was already read says so with its last data.
#[derive(Debug)]
pub(super) struct BodyReader {
    decoder: Decoder,
    ahead: Option<Result<Decoded, DecodeError>>,
}

impl BodyReader {
    pub(super) fn new(length: BodyLength) -> Self {
        Self { decoder: Decoder::new(length), ahead: None }
    }

    /// The next item.
    pub(super) fn next(&mut self, buffer: &mut BytesMut, ended: bool) -> Result<Decoded, DecodeError> {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        let item = self.decoder.decode(buffer, ended)?;
        if let (Decoded::Data(_), Decoder::Chunked(_), false) = (&item, &self.decoder, buffer.is_empty()) {
            match self.decoder.decode(buffer, ended) {
                Ok(Decoded::More | Decoded::End) => {}
                // Closed too early: the next call finds that again.
                Err(DecodeError::Closed) => {}
                other => self.ahead = Some(other),
            }
        }
        Ok(item)
    }

    /// Whether no byte of the body is left on the connection. An item may still be there to take.
    pub(super) fn is_received(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether there is nothing left to take.
    pub(super) fn is_end_stream(&self) -> bool {
        self.decoder.is_done() && self.ahead.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.ahead.is_some() { SizeHint::default() } else { self.decoder.size_hint() }
    }
}
