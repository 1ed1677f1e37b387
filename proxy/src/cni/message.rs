//! What plugin and agent say to each other: a line of JSON each way, the question with the pod's network namespace.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};

/// Longer than any question: names of Kubernetes have at most 253 bytes.
const LINE: usize = 4096;
/// How long the plugin waits. The agent's own bounds are shorter; container runtimes wait for minutes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// A pod is being made; its network namespace comes with it.
    Add(PodRef),
    /// Whether the rules of a pod that is injected are there.
    Check(PodRef),
    /// Whether the agent serves.
    Status,
}

/// A pod, as the kubelet names it to plugins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; a pod of a StatefulSet has the name of the one before it. Empty: not told.
    #[serde(default)]
    pub uid: String,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Answer {
    /// The rules are in force.
    Intercepted {
        /// The packet filter's tool that set them.
        by: String,
    },
    /// The pod is not to be intercepted.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// The pod must not start yet.
    Failed {
        /// Why not.
        reason: String,
    },
    /// The agent serves.
    Ready,
}

/// Asks the agent at a socket.
///
/// # Errors
/// When there is no answer.
pub fn ask(socket: &Path, request: &Request, namespace: Option<BorrowedFd<'_>>) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = namespace.as_slice();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = rustix::net::sendmsg(&stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    (&stream).write_all(line.get(sent..).unwrap_or_default())?;
    let mut answer = String::new();
    BufReader::new(&stream).take(LINE as u64).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection without an answer",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}

/// The question of whoever connected, with the network namespace if one came.
///
/// # Errors
/// When there is none, or not in time.
pub fn receive(stream: &UnixStream) -> io::Result<(Request, Option<OwnedFd>)> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut line, mut namespace) = (Vec::new(), None);
    while line.last() != Some(&b'\n') && line.len() < LINE {
        let mut buffer = [0; LINE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received =
            rustix::net::recvmsg(stream.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                namespace = descriptors.next().or(namespace.take());
            }
        }
        if received == 0 {
            break;
        }
        line.extend_from_slice(buffer.get(..received).unwrap_or_default());
    }
    Ok((serde_json::from_slice(&line)?, namespace))
}

/// Answers whoever asked.
///
/// # Errors
/// When it has gone away.
pub fn answer(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}
