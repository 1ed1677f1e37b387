//! Looks at a connection's first bytes, which stay there to be read.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The first look: enough for nearly all clients.
const FIRST_WINDOW: usize = 2048;

/// Looks until `recognise` has found what it looks for, at most at `most` bytes; it is told when there will be no more
/// to look at. None: the client closed before.
///
/// # Errors
/// The socket failed.
pub(super) async fn look<T>(
    stream: &TcpStream,
    most: usize,
    mut recognise: impl FnMut(&[u8], bool) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut window = vec![0; FIRST_WINDOW.min(most)];
    let mut seen = 0;
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // A look does not take bytes, so the socket would stay readable: to wait for more of them, a look that sees
        // nothing new must pass for one that would block.
        let peeked = stream.try_io(Interest::READABLE, || {
            let length = peek(stream, &mut window)?;
            if length > seen || length == 0 { Ok(length) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match peeked {
            Ok(0) => return Ok(None),
            Ok(length) => seen = length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ready.is_read_closed() {
                    return Ok(None);
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(found) = recognise(&window[..seen], seen == most) {
            return Ok(Some(found));
        }
        if seen == window.len() {
            window.resize((seen * 2).min(most), 0);
        }
    }
}

fn peek(stream: &TcpStream, window: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), window, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?)
}
