//! What was read and not used yet, and what is to be written.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::io::Io;

/// First read of a message: most heads with a small body fit.
const SMALL_READ: usize = 8 * 1024;
/// Reads of a body that keeps filling the buffer.
const LARGE_READ: usize = 64 * 1024;
/// Data up to this length is copied behind the head, which is cheaper than another part of a vectored write.
const COPY_UP_TO: usize = 4 * 1024;
/// Bytes gathered before they are written.
const GATHER: usize = 16 * 1024;

/// What was read and not used yet. Holds no memory while it is empty and waits.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    pub(super) bytes: BytesMut,
    /// Whether the other end closed its side.
    pub(super) ended: bool,
    filled: bool,
}

impl ReadBuffer {
    /// Starts with bytes that were read before.
    pub(super) fn starting_with(prefix: Bytes) -> Self {
        Self { bytes: BytesMut::from(prefix), ..Self::default() }
    }

    /// Reads what is there; 0 bytes mean that the other end closed its side.
    pub(super) fn poll_fill(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if io.poll_readable(cx).is_pending() {
            return self.nothing_there();
        }
        let want = if self.filled { LARGE_READ } else { SMALL_READ };
        if self.bytes.capacity() - self.bytes.len() < want / 4 {
            self.bytes.reserve(want);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = pin!(io.read_buf(&mut self.bytes)).poll(cx);
        match read {
            Poll::Pending => self.nothing_there(),
            Poll::Ready(Ok(n)) => {
                self.ended = n == 0;
                self.filled = n == room;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(error))
            }
        }
    }

    fn nothing_there(&mut self) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            self.bytes = BytesMut::new();
            self.filled = false;
        }
        Poll::Pending
    }
}

/// What is to be written, in the order of its fields.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Heads, chunk sizes and small data, gathered.
    pub(super) flat: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    /// Bytes written so far.
    pub(super) written: u64,
    /// Written since the last flush: TLS may still hold it.
    unflushed: bool,
}

impl Outgoing {
    /// Whether nothing is left to do: all was written, and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.is_written() && !self.unflushed
    }

    fn is_written(&self) -> bool {
        self.flat.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether more may be put in before it is written.
    pub(super) fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.flat.len() < GATHER
    }

    /// Appends data, and what stands behind it. Only when it has room.
    pub(super) fn push(&mut self, data: Bytes, tail: &'static [u8]) {
        debug_assert!(self.has_room());
        if data.len() <= COPY_UP_TO {
            self.flat.extend_from_slice(&data);
            self.flat.extend_from_slice(tail);
        } else {
            self.data = data;
            self.tail = tail;
        }
    }

    /// Appends what stands behind the data.
    pub(super) fn push_tail(&mut self, tail: &'static [u8]) {
        if self.data.is_empty() && self.tail.is_empty() {
            self.flat.extend_from_slice(tail);
        } else if self.tail.is_empty() {
            self.tail = tail;
        } else {
            // The end of a chunk followed by the end of the body.
            debug_assert!(self.tail == b"\r\n" && tail == b"0\r\n\r\n");
            self.tail = b"\r\n0\r\n\r\n";
        }
    }

    /// Writes all of it and flushes. To be called again after `Pending` until it [is done](Self::is_done), also
    /// when the last byte was taken: what TLS has taken is not on its way yet.
    pub(super) fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let n = if self.data.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.flat))?
            } else {
                let parts = [IoSlice::new(&self.flat), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                let parts = if self.flat.is_empty() { &parts[1..] } else { &parts[..] };
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, parts))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(n);
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, n: usize) {
        self.unflushed = true;
        self.written += n as u64;
        let from_flat = n.min(self.flat.len());
        self.flat.advance(from_flat);
        let from_data = (n - from_flat).min(self.data.len());
        self.data.advance(from_data);
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        self.tail = &self.tail[n - from_flat - from_data..];
    }
}
