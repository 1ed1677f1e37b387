//! The part of the proxy's HTTP/1 codec that reads.

#[path = "../../proxy/src/http1/chunked.rs"]
mod chunked;
#[path = "../../proxy/src/http1/framing.rs"]
mod framing;
#[path = "../../proxy/src/http1/head.rs"]
mod head;
#[path = "../../proxy/src/http1/refusal.rs"]
mod refusal;
#[path = "../../proxy/src/http1/target.rs"]
mod target;

pub use chunked::{ChunkedDecoder, ChunkedItem};
pub use framing::BodyLength;
pub use head::{HeadLimits, RequestHead, ResponseHead, parse_request, parse_response};
pub use refusal::Refusal;

use bytes::BytesMut;

/// Reads requests' heads as a connection does, from pieces of the input.
pub fn read_requests<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<RequestHead>, Option<Refusal>) {
    let limits = HeadLimits { max_head: 2048, max_first_line: 1024, max_headers: 16 };
    let (mut buffer, mut scan, mut heads) = (BytesMut::new(), head::Scan::default(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match head::next_request(&mut buffer, &limits, &mut scan) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(refusal) => return (heads, Some(refusal)),
            }
        }
    }
    (heads, None)
}
