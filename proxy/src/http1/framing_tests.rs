use super::*;

fn response(method: Method, status: u16, fields: &[(&'static str, &'static str)]) -> BodyLength {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let status = StatusCode::from_u16(status).unwrap();
    BodyLength::of_response(&method, status, Version::HTTP_11, &headers).unwrap()
}

#[test]
fn a_response_is_as_long_as_rfc_9112_says() {
    use BodyLength as L;
    let length = ("content-length", "7");
    let chunked = ("transfer-encoding", "chunked");
    assert_eq!(response(Method::GET, 200, &[length]), L::Exact(7));
    assert_eq!(response(Method::GET, 200, &[chunked]), L::Chunked);
    assert_eq!(response(Method::GET, 200, &[]), L::UntilClose);
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 103)]
    {
        for fields in [&[length][..], &[chunked], &[]] {
            assert_eq!(response(method.clone(), status, fields), L::Exact(0), "{method} {status}");
        }
    }
    assert_eq!(response(Method::CONNECT, 200, &[length]), L::Exact(0));
    assert_eq!(response(Method::CONNECT, 403, &[length]), L::Exact(7));
}

#[test]
fn a_counted_body_ends_exactly_there_and_not_at_the_end_of_the_connection() {
    let mut decoder = Decoder::new(BodyLength::Exact(5));
    let mut buffer = BytesMut::from("helloGET");
    assert!(matches!(decoder.decode(&mut buffer, false), Ok(Decoded::Data(data)) if data == "hello"));
    assert!(decoder.is_done() && &buffer[..] == b"GET");
    let mut decoder = Decoder::new(BodyLength::Exact(5));
    let mut buffer = BytesMut::from("hel");
    assert!(matches!(decoder.decode(&mut buffer, true), Ok(Decoded::Data(_))));
    assert_eq!(decoder.decode(&mut buffer, true).unwrap_err(), DecodeError::Closed);
}

#[test]
fn a_chunked_body_that_is_cut_off_is_an_error() {
    for text in ["5\r\nhel", "5\r\nhello\r\n", "0\r\n"] {
        let mut reader = BodyReader::new(BodyLength::Chunked);
        let mut buffer = BytesMut::from(text);
        let end = loop {
            match reader.next(&mut buffer, true) {
                Ok(Decoded::Data(_)) => {}
                other => break other,
            }
        };
        assert_eq!(end.unwrap_err(), DecodeError::Closed, "{text:?}");
    }
}

#[test]
fn the_last_chunk_says_that_it_is_the_last() {
    let mut reader = BodyReader::new(BodyLength::Chunked);
    let mut buffer = BytesMut::from("5\r\nhello\r\n0\r\n\r\nGET");
    assert!(matches!(reader.next(&mut buffer, false), Ok(Decoded::Data(_))));
    assert!(reader.is_end_stream() && &buffer[..] == b"GET");
}

#[test]
fn trailers_that_were_read_ahead_are_still_given() {
    let mut reader = BodyReader::new(BodyLength::Chunked);
    let mut buffer = BytesMut::from("5\r\nhello\r\n0\r\nA: b\r\n\r\n");
    assert!(matches!(reader.next(&mut buffer, false), Ok(Decoded::Data(_))));
    assert!(reader.is_received() && !reader.is_end_stream());
    assert!(matches!(reader.next(&mut buffer, false), Ok(Decoded::Trailers(_))));
    assert!(reader.is_end_stream());
}
