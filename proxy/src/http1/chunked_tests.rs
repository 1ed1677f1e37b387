use proptest::prelude::*;

use super::*;
use crate::http1::encode;

/// All that a body gives, fed piece by piece: the content, the trailers, the bytes left over.
#[derive(PartialEq, Eq, Debug, Default)]
struct Read {
    content: Vec<u8>,
    trailers: Option<Vec<(String, String)>>,
    left: Option<Vec<u8>>,
}

fn read(pieces: &[&[u8]]) -> Result<Read, Refusal> {
    let (mut decoder, mut buffer, mut seen) = (ChunkedDecoder::default(), BytesMut::new(), Read::default());
    let mut ended = false;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !ended {
            match decoder.decode(&mut buffer)? {
                ChunkedItem::Data(data) => {
                    assert!(!data.is_empty());
                    seen.content.extend_from_slice(&data);
                }
                ChunkedItem::End(trailers) => {
                    ended = true;
                    seen.trailers = trailers.map(|t| {
                        t.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect()
                    });
                }
                ChunkedItem::More => break,
            }
        }
    }
    seen.left = ended.then(|| buffer.to_vec());
    Ok(seen)
}

#[test]
fn chunks_trailers_and_what_follows_are_told_apart() {
    let read = read(&[b"5\r\nhello\r\n6;name=\"a b\"\r\n world\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nGET /"])
        .unwrap();
    assert_eq!(read.content, b"hello world");
    assert_eq!(read.trailers, Some(vec![("x-sum".to_owned(), "1".to_owned())]));
    assert_eq!(read.left.as_deref(), Some(&b"GET /"[..]));
}

#[test]
fn bad_chunks_are_refused_with_their_own_word() {
    use Refusal as R;
    for (text, refusal) in [
        ("\r\n", R::ChunkSize),
        ("g\r\n", R::ChunkSize),
        ("-5\r\n", R::ChunkSize),
        ("+5\r\n", R::ChunkSize),
        ("0x5\r\n", R::ChunkSize),
        (" 5\r\n", R::ChunkSize),
        ("5 \r\nhello", R::ChunkSize),
        ("5 5\r\n", R::ChunkSize),
        ("5,\r\n", R::ChunkSize),
        ("5_\r\n", R::ChunkSize),
        ("5\nhello\r\n", R::ChunkSize),
        ("5\rhello\r\n", R::BareLineEnd),
        ("5;a\nhello", R::ChunkExtension),
        ("5;a\0\r\nhello", R::ChunkExtension),
        ("5;a\r\rhello", R::BareLineEnd),
        ("ffffffffffffffff\r\n", R::ChunkSize),
        ("10000000000000005\r\n", R::ChunkSize),
        ("0000000000000005\r\n", R::ChunkSize),
        ("5\r\nhelloX", R::ChunkEnd),
        ("5\r\nhello\n", R::ChunkEnd),
        ("5\r\nhello\r0", R::ChunkEnd),
        ("5\r\nhello5\r\nhello\r\n", R::ChunkEnd),
        ("0\r\n\n", R::BareLineEnd),
        ("0\r\nA: b\n\r\n", R::BareLineEnd),
        ("0\r\nA: b\r\n\n", R::BareLineEnd),
        ("0\r\nA : b\r\n\r\n", R::Trailers),
        ("0\r\nA: b\r\n c\r\n\r\n", R::Trailers),
        ("0\r\nA: b\rc\r\n\r\n", R::Trailers),
        ("0\r\nA: b\0\r\n\r\n", R::Trailers),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", R::Trailers),
    ] {
        assert_eq!(read(&[text.as_bytes()]), Err(refusal), "{text:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let long = format!("1;{}", "x".repeat(MAX_EXTENSIONS as usize + 1));
    assert_eq!(read(&[long.as_bytes()]), Err(Refusal::ChunkExtension));
    let many = format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(200);
    assert_eq!(read(&[many.as_bytes()]), Err(Refusal::ChunkExtension));
    let long = format!("0\r\nA: {}", "x".repeat(MAX_TRAILERS));
    assert_eq!(read(&[long.as_bytes()]), Err(Refusal::TrailersTooLarge));
    let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(read(&[many.as_bytes()]), Err(Refusal::TrailersTooLarge));
}

#[test]
fn an_unfinished_body_asks_for_more() {
    for text in ["", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n0\r\n", "0\r\nA: b\r\n\r"]
    {
        assert_eq!(read(&[text.as_bytes()]).unwrap().left, None, "{text:?}");
    }
}

fn split<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again_however_it_is_split(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6),
        trailers in proptest::collection::vec(("x-[a-z]{1,8}", "[ -~]{0,20}"), 0..4),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut wire = BytesMut::new();
        for chunk in &chunks {
            encode::chunk_size(&mut wire, chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n");
        let mut fields = HeaderMap::new();
        for (name, value) in &trailers {
            let name: http::HeaderName = name.parse().unwrap();
            fields.append(name, value.trim().parse().unwrap());
        }
        encode::trailers(&mut wire, &fields);
        let wire = [&wire[..], b"rest"].concat();
        let read = read(&split(&wire, &cuts)).unwrap();
        prop_assert_eq!(read.content, chunks.concat());
        prop_assert_eq!(read.trailers.map_or(0, |t| t.len()), fields.len());
        prop_assert_eq!(read.left, Some(b"rest".to_vec()));
    }

    #[test]
    fn any_split_of_any_input_gives_the_same(
        pieces in proptest::collection::vec(prop_oneof![
            Just("5\r\nhello\r\n"), Just("1;a=b\r\nx\r\n"), Just("0\r\n"), Just("\r\n"), Just("A: b\r\n"),
            Just("\n"), Just("\r"), Just("3"), Just(" "), Just(";"), Just("abc"), Just("f\r\n"),
        ], 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let input = pieces.concat().into_bytes();
        let whole = read(&[&input]);
        prop_assert_eq!(&read(&split(&input, &cuts)), &whole);
        prop_assert_eq!(&read(&input.chunks(1).collect::<Vec<_>>()), &whole);
    }
}
