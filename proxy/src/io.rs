//! One byte stream type: plain or TLS, with bytes that were already read put back in front.
//!
//! An `enum` and not a boxed trait, so that the request path has no virtual call and the type of a connection's task
//! is known. Sniffing reads a few bytes before it is known who will serve the connection: [`Io::with_prefix`] puts
//! them back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(test)]
#[path = "io_tests.rs"]
pub(crate) mod tests;

/// TLS that this proxy terminates.
pub type TlsServerStream = tokio_rustls::server::TlsStream<TcpStream>;
/// TLS that this proxy originates.
pub type TlsClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection: a stream, and bytes of it that were read before and are to be read again first.
#[derive(Debug)]
pub struct Io {
    prefix: Bytes,
    stream: Stream,
}

/// What carries the bytes.
#[derive(Debug)]
pub enum Stream {
    /// TCP without encryption.
    Plain(TcpStream),
    /// TLS, this proxy being the server. Boxed: the session is over 1 KiB.
    TlsServer(Box<TlsServerStream>),
    /// TLS, this proxy being the client.
    TlsClient(Box<TlsClientStream>),
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Stream::Plain(stream).into()
    }
}

impl From<TlsServerStream> for Io {
    fn from(stream: TlsServerStream) -> Self {
        Stream::TlsServer(Box::new(stream)).into()
    }
}

impl From<TlsClientStream> for Io {
    fn from(stream: TlsClientStream) -> Self {
        Stream::TlsClient(Box::new(stream)).into()
    }
}

impl From<Stream> for Io {
    fn from(stream: Stream) -> Self {
        Self { prefix: Bytes::new(), stream }
    }
}

impl Io {
    /// Puts bytes in front of what the stream will give, before any that were put there earlier.
    #[must_use]
    pub fn with_prefix(mut self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self.prefix = if self.prefix.is_empty() {
            bytes
        } else {
            [bytes.as_ref(), self.prefix.as_ref()].concat().into()
        };
        self
    }

    /// Takes the bytes that were put in front; the next read comes from the stream itself.
    pub fn take_prefix(&mut self) -> Bytes {
        std::mem::take(&mut self.prefix)
    }

    /// What carries the bytes.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Takes the parts: the bytes in front and the stream.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Stream) {
        (self.prefix, self.stream)
    }

    /// The socket under the encryption.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::TlsServer(tls) => tls.get_ref().0,
            Stream::TlsClient(tls) => tls.get_ref().0,
        }
    }

    /// The TLS session: peer certificates, ALPN, version; nothing for a plain stream.
    #[must_use]
    pub fn tls(&self) -> Option<&CommonState> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::TlsServer(tls) => Some(tls.get_ref().1),
            Stream::TlsClient(tls) => Some(tls.get_ref().1),
        }
    }

    /// Ready when a read may give something: bytes, the end, or an error. Where it is not, a read would not be ready
    /// either, but this needs no buffer to find that out.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.prefix.is_empty() || self.tls().is_some_and(|session| !session.wants_read()) {
            return Poll::Ready(());
        }
        self.tcp().poll_read_ready(cx).map(|_| ())
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// As the system call: the socket is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// As the system call.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().local_addr()
    }

    /// Has the kernel ask after so long a silence whether the other end is still there.
    pub fn keep_alive(&self, silence: Duration) {
        let probes = socket2::TcpKeepalive::new().with_time(silence);
        // Without it the connection is as good, as long as the other end does not vanish.
        let _ = socket2::SockRef::from(self.tcp()).set_tcp_keepalive(&probes);
    }

    /// Closes with a TCP reset, so that the other end cannot take what it has got so far for the whole.
    pub fn abort(self) {
        self.reset_on_close();
    }

    /// As [`Io::abort`], when it is dropped.
    pub fn reset_on_close(&self) {
        // A socket that cannot be told so is closed in the ordinary way by the drop.
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }
}

macro_rules! on_stream {
    ($io:expr, $stream:ident => $call:expr) => {
        match &mut $io.get_mut().stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::TlsServer(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Stream::TlsClient(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(buffer.remaining());
            buffer.put_slice(&self.prefix[..n]);
            self.prefix.advance(n);
            if self.prefix.is_empty() {
                // An emptied slice would still hold its whole allocation.
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        on_stream!(self, stream => stream.poll_read(cx, buffer))
    }
}

/// Shutting down a TLS stream sends `close_notify` first, so that the other end can tell the end from a cut.
impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}
