//! Asks a sidecar of this machine for a page of its administration endpoint.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;

/// A page may ask others before it answers, such as upstream resolvers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Status and body of the page at `path`, which is percent-encoded already.
///
/// # Errors
/// When the sidecar does not answer.
pub fn page(socket: &Path, path: &str) -> Result<(u16, String), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::new(FAILED, format!("the sidecar at {} does not answer: {error}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| {
        CommandError::new(FAILED, "the sidecar's answer is not HTTP").hint("is it another program's?")
    })
}

pub(crate) fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    Some((words.next()?.parse().ok()?, body.to_owned()))
}
