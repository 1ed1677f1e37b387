//! Chunked bodies: no input panics, and any split of it gives the same content, trailers, rest and refusal.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weft_fuzz::http1::{ChunkedDecoder, ChunkedItem, Refusal};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Option<String>), Refusal> {
    let (mut decoder, mut buffer, mut content) = (ChunkedDecoder::default(), BytesMut::new(), Vec::new());
    let mut end = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while end.is_none() {
            match decoder.decode(&mut buffer)? {
                ChunkedItem::Data(data) => content.extend_from_slice(&data),
                ChunkedItem::End(trailers) => end = Some(trailers),
                ChunkedItem::More => break,
            }
        }
    }
    Ok((content, end.map(|trailers| format!("{trailers:?} {buffer:?}"))))
}

fuzz_target!(|input: &[u8]| {
    assert_eq!(read(std::iter::once(input)), read(input.chunks(1)));
});
