//! Takes the header of the PROXY protocol off a connection.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use weft_model::listener::ProxyProtocol;

use super::peek;
use crate::proxy_protocol::{Ends, LONGEST, Parsed, parse};

/// How long the header may take where the listener has no time-out.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Whose connection it is; none: the sender's own.
///
/// # Errors
/// It has no header that could be believed, and why.
pub(super) async fn take(
    stream: &mut TcpStream,
    presence: ProxyProtocol,
    timeout: Duration,
) -> Result<Option<Ends>, &'static str> {
    let timeout = if timeout.is_zero() { TIMEOUT } else { timeout };
    match tokio::time::timeout(timeout, read(stream, presence)).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err("the connection failed before it had a PROXY protocol header"),
        Err(_) if presence == ProxyProtocol::Allowed => Ok(None),
        Err(_) => Err("it had no PROXY protocol header in time"),
    }
}

async fn read(
    stream: &mut TcpStream,
    presence: ProxyProtocol,
) -> io::Result<Result<Option<Ends>, &'static str>> {
    let found = peek::look(stream, LONGEST, |bytes, full| match parse(bytes) {
        Parsed::Partial if full => Some(Parsed::Malformed("its PROXY protocol header has no end")),
        Parsed::Partial => None,
        parsed => Some(parsed),
    });
    Ok(match found.await?.unwrap_or(Parsed::Absent) {
        Parsed::Header(length, ends) => {
            let mut header = [0; LONGEST];
            stream.read_exact(&mut header[..length.min(LONGEST)]).await?;
            Ok(ends)
        }
        Parsed::Absent if presence == ProxyProtocol::Allowed => Ok(None),
        Parsed::Absent | Parsed::Partial => Err("it has no PROXY protocol header"),
        Parsed::Malformed(why) => {
            tracing::debug!("a PROXY protocol header cannot be believed: {why}");
            Err("its PROXY protocol header is malformed")
        }
    })
}
