//! What a sidecar and the process outside say to each other: a line each way, the answer with a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Longer than any request, and than the longest reason that is told.
const LINE: usize = 512;
/// What an answer with a socket says.
const OK: &[u8] = b"ok\n";

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// A TCP connection.
    Connect(SocketAddr),
    /// A TCP connection to the machine's resolver of this number, from 0.
    ResolverStream(usize),
    /// A UDP socket that is connected to it.
    ResolverDatagrams(usize),
}

impl Request {
    fn encode(self) -> String {
        match self {
            Self::Connect(address) => format!("connect {address}\n"),
            Self::ResolverStream(number) => format!("resolver-stream {number}\n"),
            Self::ResolverDatagrams(number) => format!("resolver-datagrams {number}\n"),
        }
    }

    fn decode(line: &str) -> Option<Self> {
        let (verb, object) = line.split_once(' ')?;
        match verb {
            "connect" => object.parse().ok().map(Self::Connect),
            "resolver-stream" => object.parse().ok().map(Self::ResolverStream),
            "resolver-datagrams" => object.parse().ok().map(Self::ResolverDatagrams),
            _ => None,
        }
    }
}

pub(super) async fn send_request(stream: &UnixStream, request: &Request) -> io::Result<()> {
    send(stream, request.encode().as_bytes(), None).await
}

/// The request of whoever connected.
///
/// # Errors
/// Of the kind `InvalidData` when it is none.
pub(super) async fn receive_request(stream: &UnixStream) -> io::Result<Request> {
    let (line, _) = receive(stream).await?;
    Request::decode(&line)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is no request")))
}

pub(super) async fn send_answer(stream: &UnixStream, answer: io::Result<OwnedFd>) -> io::Result<()> {
    use std::os::fd::AsFd;
    match answer {
        Ok(socket) => send(stream, OK, Some(socket.as_fd())).await,
        Err(error) => {
            let kind = KINDS.iter().find(|(kind, _)| *kind == error.kind()).map_or("other", |(_, word)| word);
            let mut line = format!("{kind} {}", error.to_string().replace('\n', " "));
            line.truncate((0..=LINE - 1).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0));
            line.push('\n');
            send(stream, line.as_bytes(), None).await
        }
    }
}

/// The socket that was asked for, or why there is none.
///
/// # Errors
/// When there was no answer.
pub(super) async fn receive_answer(stream: &UnixStream) -> io::Result<io::Result<OwnedFd>> {
    let (line, socket) = receive(stream).await?;
    if let (true, Some(socket)) = (line.as_bytes() == OK.trim_ascii_end(), socket) {
        return Ok(Ok(socket));
    }
    let Some((word, reason)) = line.split_once(' ') else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let kind = KINDS.iter().find(|(_, known)| *known == word).map_or(io::ErrorKind::Other, |(kind, _)| *kind);
    Ok(Err(io::Error::new(kind, reason.to_owned())))
}

/// Kinds of errors that callers tell apart.
const KINDS: [(io::ErrorKind, &str); 7] = [
    (io::ErrorKind::ConnectionRefused, "refused"),
    (io::ErrorKind::TimedOut, "timeout"),
    (io::ErrorKind::HostUnreachable, "host-unreachable"),
    (io::ErrorKind::NetworkUnreachable, "network-unreachable"),
    (io::ErrorKind::PermissionDenied, "denied"),
    (io::ErrorKind::NotFound, "not-found"),
    (io::ErrorKind::InvalidData, "invalid"),
];

/// Both lines are shorter than the smallest buffer of a Unix socket: they go in one piece.
async fn send(stream: &UnixStream, line: &[u8], socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let sockets = socket.as_slice();
            if !sockets.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(sockets));
            }
            Ok(rustix::net::sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?)
        })
        .await?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> io::Result<(String, Option<OwnedFd>)> {
    let mut line = Vec::new();
    let mut socket = None;
    while line.last() != Some(&b'\n') && line.len() < LINE {
        let mut buffer = [0; LINE];
        let received = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut parts = [IoSliceMut::new(&mut buffer)];
                let received =
                    rustix::net::recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
                        socket = sockets.next().or(socket.take());
                    }
                }
                Ok(received.bytes)
            })
            .await?;
        if received == 0 {
            break;
        }
        line.extend_from_slice(buffer.get(..received).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
    Ok((text, socket))
}
