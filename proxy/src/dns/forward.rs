//! Asks those who were asked before there was a mesh.

use std::io;
use std::net::SocketAddr;

use socket2::{Protocol, Type};
use tokio::net::{TcpSocket, UdpSocket};

use super::{DnsSettings, Over, read_message, socket, write_message};

/// The answer of the first upstream that gives one in time, under the query's own id, and which one that is. An upstream that failed or will
/// not answer leaves the word to the next, as resolvers of C libraries do; if none knows better, that is the answer.
pub(super) async fn forward(
    query: &[u8],
    over: Over,
    settings: &DnsSettings,
) -> Option<(Vec<u8>, SocketAddr)> {
    let mut failure = None;
    for upstream in &settings.upstreams {
        let asked = async {
            match over {
                Over::Udp => ask_udp(query, *upstream, settings.mark).await,
                Over::Tcp => ask_tcp(query, *upstream, settings.mark).await,
            }
        };
        match tokio::time::timeout(settings.timeout, asked).await {
            Ok(Ok(answer)) if is_failure(&answer) => failure = Some((answer, *upstream)),
            Ok(Ok(answer)) => return Some((answer, *upstream)),
            Ok(Err(error)) => tracing::debug!(%upstream, %error, "an upstream resolver failed"),
            Err(_) => tracing::debug!(%upstream, "an upstream resolver gave no answer in time"),
        }
    }
    failure
}

/// SERVFAIL or REFUSED (RFC 1035, section 4.1.1).
fn is_failure(answer: &[u8]) -> bool {
    answer.get(3).is_some_and(|flags| matches!(flags & 0x0f, 2 | 5))
}

/// From a port and with an id of its own, so that nobody can guess them (RFC 5452).
async fn ask_udp(query: &[u8], upstream: SocketAddr, mark: Option<u32>) -> io::Result<Vec<u8>> {
    let socket = socket(upstream, Type::DGRAM, Protocol::UDP, mark)?;
    let socket = UdpSocket::from_std(socket.into())?;
    // Connected: only the upstream's packets arrive, and a port that nobody listens on is an error at once.
    socket.connect(upstream).await?;
    let mut asked = query.to_vec();
    let id = fastrand::u16(..);
    set_id(&mut asked, id.to_be_bytes());
    socket.send(&asked).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..length).is_some_and(|answer| answer.starts_with(&id.to_be_bytes()) && length >= 12) {
            buffer.truncate(length);
            restore_id(&mut buffer, query);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: &[u8], upstream: SocketAddr, mark: Option<u32>) -> io::Result<Vec<u8>> {
    let socket = socket(upstream, Type::STREAM, Protocol::TCP, mark)?;
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(upstream).await?;
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

fn set_id(message: &mut [u8], id: [u8; 2]) {
    if let Some(first) = message.get_mut(..2) {
        first.copy_from_slice(&id);
    }
}

fn restore_id(answer: &mut [u8], query: &[u8]) {
    if let [high, low, ..] = query {
        set_id(answer, [*high, *low]);
    }
}
