//! Copies bytes both ways between two connections: TCP, and whatever a request was upgraded to.
//!
//! Half-close is kept: when one side has said all it has to say, the other side is told so and may go on talking
//! (linkerd2#8033). A direction that waits for bytes holds no buffer, so that idle connections cost next to nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::ErrorSource;
use crate::io::Io;

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;

/// Size of a buffer in bytes.
const BUFFER: usize = 64 * 1024;
/// Unused buffers that a worker keeps.
const SPARE: usize = 16;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were copied so far; can be looked at any time.
#[derive(Debug, Default)]
pub struct CopyCounts {
    /// From the client.
    pub from_downstream: Cell<u64>,
    /// From the server.
    pub from_upstream: Cell<u64>,
}

/// How copying ended.
#[derive(Debug)]
pub struct CopyEnd {
    /// Bytes from the client.
    pub from_downstream: u64,
    /// Bytes from the server.
    pub from_upstream: u64,
    /// Whether both sides ended by themselves.
    pub result: Result<(), CopyError>,
    /// The client was told the end of what the server said.
    pub told_downstream: bool,
    /// The server was told the end of what the client said.
    pub told_upstream: bool,
}

/// Why copying ended before both sides had.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A connection failed.
    #[error("the connection failed: {error}")]
    Io {
        /// Whose.
        side: ErrorSource,
        /// How.
        error: io::Error,
    },
    /// No byte came from either side for too long.
    #[error("no byte came from either side for {0:?}")]
    Idle(Duration),
}

/// Copies as [`copy_bidirectional`] and closes both connections as they ended: what broke on one side is a reset on the
/// other, as it would be without a proxy between them, so that nobody takes half of an answer for the whole. The same
/// holds for a copy that is dropped under way.
pub async fn join(downstream: Io, upstream: Io, idle: Option<Duration>) -> CopyEnd {
    let mut pair = Pair { downstream, upstream, cut: true };
    let end = copy_bidirectional(&mut pair.downstream, &mut pair.upstream, idle).await;
    pair.cut = false;
    match &end.result {
        Err(CopyError::Io { side: ErrorSource::Upstream, .. }) if !end.told_downstream => {
            pair.downstream.reset_on_close();
        }
        Err(CopyError::Io { side: ErrorSource::Downstream, .. }) if !end.told_upstream => {
            pair.upstream.reset_on_close();
        }
        // Over TLS, a close without the word for it would pass for a cut. Who takes no byte of it now is not waited for.
        Err(CopyError::Idle(_)) => {
            let _ = pair.downstream.shutdown().now_or_never();
            let _ = pair.upstream.shutdown().now_or_never();
        }
        Ok(()) | Err(CopyError::Io { .. }) => {}
    }
    end
}

/// Two connections that are copied between.
struct Pair {
    downstream: Io,
    upstream: Io,
    /// Whether they end in the middle, should they be dropped now.
    cut: bool,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.cut {
            self.downstream.reset_on_close();
            self.upstream.reset_on_close();
        }
    }
}

/// Copies until both sides have ended, one of them failed, or neither said anything for `idle`.
pub async fn copy_bidirectional<D, U>(downstream: &mut D, upstream: &mut U, idle: Option<Duration>) -> CopyEnd
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    copy_counted(downstream, upstream, idle, &CopyCounts::default()).await
}

/// As [`copy_bidirectional`], with counts that others can look at meanwhile.
pub async fn copy_counted<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<Duration>,
    counts: &CopyCounts,
) -> CopyEnd
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Direction::new(ErrorSource::Downstream, ErrorSource::Upstream);
    let mut response = Direction::new(ErrorSource::Upstream, ErrorSource::Downstream);
    let mut silence = pin!(idle.map(Silence::new));
    let result = poll_fn(|cx| {
        let before = (counts.from_downstream.get(), counts.from_upstream.get());
        let there = request.poll(cx, downstream, upstream, &counts.from_downstream);
        // Also when the way there failed: a server that has heard enough answers and closes, and its answer is still
        // to be read.
        let back = response.poll(cx, upstream, downstream, &counts.from_upstream);
        let (there, back) = (there?, back?);
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let moved = before != (counts.from_downstream.get(), counts.from_upstream.get());
        match silence.as_mut().as_pin_mut() {
            Some(silence) => silence.poll(cx, moved).map(Err),
            None => Poll::Pending,
        }
    })
    .await;
    CopyEnd {
        from_downstream: counts.from_downstream.get(),
        from_upstream: counts.from_upstream.get(),
        result,
        told_downstream: response.state == State::Closed,
        told_upstream: request.state == State::Closed,
    }
}

/// One direction.
struct Direction {
    from: ErrorSource,
    to: ErrorSource,
    /// Held only while it has bytes that were not written yet.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    /// Written since the last flush.
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Copying,
    Closing,
    Closed,
}

impl Direction {
    fn new(from: ErrorSource, to: ErrorSource) -> Self {
        Self { from, to, buffer: None, start: 0, end: 0, unflushed: false, state: State::Copying }
    }

    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &Cell<u64>,
    ) -> Result<Poll<()>, CopyError> {
        let (from, to) = (self.from, self.to);
        let failed = |side| move |error| CopyError::Io { side, error };
        loop {
            match self.state {
                State::Closed => return Ok(Poll::Ready(())),
                State::Closing => match Pin::new(&mut *writer).poll_shutdown(cx) {
                    Poll::Pending => return Ok(Poll::Pending),
                    // Whoever has gone entirely does not need to be told.
                    Poll::Ready(_) => self.state = State::Closed,
                },
                State::Copying => {
                    match self.poll_write(cx, writer) {
                        Poll::Pending => return Ok(Poll::Pending),
                        Poll::Ready(written) => written.map_err(failed(to))?,
                    }
                    match self.poll_read(cx, reader) {
                        Poll::Ready(Ok(0)) => self.state = State::Closing,
                        Poll::Ready(Ok(n)) => count.set(count.get() + n as u64),
                        Poll::Ready(Err(error)) => return Err(failed(from)(error)),
                        Poll::Pending => {
                            if self.unflushed {
                                match Pin::new(&mut *writer).poll_flush(cx) {
                                    Poll::Ready(flushed) => flushed.map_err(failed(to))?,
                                    Poll::Pending => return Ok(Poll::Pending),
                                }
                                self.unflushed = false;
                            }
                            return Ok(Poll::Pending);
                        }
                    }
                }
            }
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(buffer) = self.buffer.as_ref().filter(|_| self.start < self.end) {
            let n = ready!(Pin::new(&mut *writer).poll_write(cx, &buffer[self.start..self.end]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += n;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into an empty buffer; gives the buffer back when there is nothing.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.take().unwrap_or_else(take_spare);
        let mut read = ReadBuf::new(&mut buffer);
        let result = Pin::new(reader).poll_read(cx, &mut read);
        let n = read.filled().len();
        match result {
            Poll::Ready(Ok(())) if n > 0 => {
                (self.start, self.end) = (0, n);
                self.buffer = Some(buffer);
                Poll::Ready(Ok(n))
            }
            other => {
                give_spare(buffer);
                other.map_ok(|()| 0)
            }
        }
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            give_spare(buffer);
        }
    }
}

fn take_spare() -> Box<[u8]> {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
}

fn give_spare(buffer: Box<[u8]>) {
    SPARES.with_borrow_mut(|spares| {
        if spares.len() < SPARE {
            spares.push(buffer);
        }
    });
}

/// Notices when nothing moves. The timer is not set anew with every byte: when it fires it looks whether anything
/// moved since, and if so sleeps for what is left.
struct Silence {
    bound: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(bound: Duration) -> Self {
        let last = Instant::now();
        Self { bound, last, sleep: Box::pin(sleep_until(last + bound)) }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, moved: bool) -> Poll<CopyError> {
        let this = &mut *self;
        if moved {
            this.last = Instant::now();
        }
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            let until = this.last + this.bound;
            if Instant::now() >= until {
                return Poll::Ready(CopyError::Idle(this.bound));
            }
            this.sleep.as_mut().reset(until);
        }
    }
}
