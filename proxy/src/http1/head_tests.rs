use proptest::prelude::*;

use super::*;

fn request(text: impl AsRef<[u8]>) -> Result<RequestHead, Refusal> {
    parse_request(&mut BytesMut::from(text.as_ref()), &HeadLimits::default()).map(|head| {
        head.unwrap_or_else(|| panic!("incomplete: {:?}", String::from_utf8_lossy(text.as_ref())))
    })
}

fn response(text: &str) -> Result<ResponseHead, Refusal> {
    parse_response(&mut BytesMut::from(text), &Method::GET, &HeadLimits::default())
        .map(|head| head.unwrap_or_else(|| panic!("incomplete: {text:?}")))
}

#[test]
fn a_plain_request_is_read() {
    let head =
        request("GET /a?b=c HTTP/1.1\r\nHost: shop:80\r\nX-Thing:  one two \t\r\nAccept:\r\n\r\n").unwrap();
    assert_eq!((head.method, head.uri.to_string().as_str()), (Method::GET, "/a?b=c"));
    assert_eq!(head.headers["x-thing"], "one two");
    assert_eq!(head.headers["accept"], "");
    assert!(head.keep_alive && !head.expects_continue && !head.accepts_trailers && !head.wants_upgrade);
    assert_eq!(head.body, BodyLength::Exact(0));
}

/// Everything that two hops could read differently, with the word for it. `smuggling.txt` of the end-to-end test
/// has the same ones.
#[test]
fn each_ambiguous_request_is_refused_with_its_own_word() {
    use Refusal as R;
    let cases: &[(&[u8], Refusal)] = &[
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", R::BareLineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", R::BareLineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", R::BareLineEnd),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", R::BareLineEnd),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", R::BareLineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rC: d\r\n\r\n", R::BareLineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\r\n\r\n", R::BareLineEnd),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", R::ObsoleteFold),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n", R::ObsoleteFold),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", R::ObsoleteFold),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA(b): c\r\n\r\n", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\x80: c\r\n\r\n", R::HeaderName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", R::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n", R::HeaderValue),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7f\r\n\r\n", R::HeaderValue),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", R::RequestLine),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", R::Version),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", R::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", R::Version),
        (b"GET /\r\n", R::Version),
        (b"\x16\x03\x01\x02\x00", R::RequestLine),
        (b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", R::RequestLine),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", R::Scheme),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"CONNECT a:99999 HTTP/1.1\r\nHost: a\r\n\r\n", R::Target),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabc", R::BodyNotAllowed),
        (b"GET / HTTP/1.1\r\n\r\n", R::HostMissing),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", R::HostRepeated),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", R::HostRepeated),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", R::Host),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", R::Host),
        (b"GET http://b/ HTTP/1.1\r\n\r\n", R::HostMissing),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            R::AmbiguousLength,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            R::AmbiguousLength,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding:\r\n\r\n",
            R::AmbiguousLength,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            R::ContentLengthRepeated,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n",
            R::ContentLengthRepeated,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", R::ContentLengthRepeated),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\n", R::ContentLengthRepeated),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e3\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", R::ContentLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", R::TransferEncoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", R::TransferEncoding),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            R::TransferEncodingOrder,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            R::TransferEncodingOrder,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            R::TransferEncodingOrder,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", R::TransferEncoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", R::TransferEncoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", R::TransferEncoding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", R::HeaderValue),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", R::TransferEncoding),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", R::TransferEncodingOld),
    ];
    for (text, refusal) in cases {
        let name = String::from_utf8_lossy(text);
        assert_eq!(request(text).map(|head| format!("{head:?}")), Err(*refusal), "{name:?}");
    }
}

#[test]
fn refusals_answer_with_the_status_that_names_them() {
    assert_eq!(Refusal::AmbiguousLength.status(), 400);
    assert_eq!(Refusal::RequestLineTooLong.status(), 414);
    assert_eq!(Refusal::HeadersTooLarge.status(), 431);
    assert_eq!(Refusal::TooManyHeaders.status(), 431);
    assert_eq!(Refusal::TransferEncoding.status(), 501);
    assert_eq!(Refusal::Version.status(), 505);
    assert_eq!(Refusal::AmbiguousLength.details(), "http1.content_length_and_chunked_not_allowed");
}

#[test]
fn what_is_merely_unusual_is_accepted() {
    for text in [
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
        "GET //double HTTP/1.1\r\nHost: a:\r\n\r\n",
        "GET /{a}?q={a:[1|2]}^` HTTP/1.1\r\nHost: a_b.c\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Latin: caf\u{e9}\r\n\r\n",
    ] {
        assert!(request(text).is_ok(), "{text:?}: {:?}", request(text));
    }
}

#[test]
fn an_absolute_target_wins_over_host() {
    let head = request("GET http://real:81/x?y HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
    assert_eq!(head.headers[header::HOST], "real:81");
    assert_eq!(head.uri.path_and_query().unwrap(), "/x?y");
}

#[test]
fn the_connection_field_decides_on_keep_alive_by_version() {
    for (version, field, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = request(format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n")).unwrap();
        assert_eq!(head.keep_alive, expected, "{version} {field:?}");
    }
}

#[test]
fn expectations_trailers_and_upgrades_are_noticed_on_1_1_only() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\nTE: gzip, trailers\r\n\
                Connection: te, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let head = request(text).unwrap();
    assert!(head.expects_continue && head.accepts_trailers && head.wants_upgrade);
    let head = request(text.replace("HTTP/1.1", "HTTP/1.0")).unwrap();
    assert!(!head.expects_continue && !head.accepts_trailers && !head.wants_upgrade);
}

#[test]
fn oversized_heads_are_refused_at_the_limit_and_not_before() {
    let limits = HeadLimits { max_head: 200, max_first_line: 100, max_headers: 3 };
    let parse =
        |text: String| parse_request(&mut BytesMut::from(text.as_str()), &limits).map(|head| head.is_some());
    let with_value = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(n));
    let overhead = with_value(0).len();
    assert_eq!(parse(with_value(200 - overhead)), Ok(true));
    assert_eq!(parse(with_value(201 - overhead)), Err(Refusal::HeadersTooLarge));
    assert_eq!(parse(format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(300))), Err(Refusal::HeadersTooLarge));
    let with_target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    let line = "GET / HTTP/1.1\r\n".len();
    assert_eq!(parse(with_target(100 - line)), Ok(true));
    assert_eq!(parse(with_target(101 - line)), Err(Refusal::RequestLineTooLong));
    assert_eq!(parse(format!("GET /{}", "x".repeat(100))), Err(Refusal::RequestLineTooLong));
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(n));
    assert_eq!(parse(fields(2)), Ok(true));
    assert_eq!(parse(fields(3)), Err(Refusal::TooManyHeaders));
    assert_eq!(parse("\r\n".repeat(5)), Err(Refusal::RequestLine));
}

#[test]
fn limits_above_the_default_number_of_fields_hold_too() {
    let limits = HeadLimits { max_headers: 300, ..HeadLimits::default() };
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(299));
    assert!(parse_request(&mut BytesMut::from(text.as_str()), &limits).unwrap().is_some());
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(300));
    assert_eq!(
        parse_request(&mut BytesMut::from(text.as_str()), &limits).unwrap_err(),
        Refusal::TooManyHeaders
    );
}

#[test]
fn bytes_after_the_head_stay_in_the_buffer() {
    let mut buffer = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next");
    assert!(parse_request(&mut buffer, &HeadLimits::default()).unwrap().is_some());
    assert_eq!(&buffer[..], b"GET /next");
}

#[test]
fn ambiguous_responses_are_refused() {
    use Refusal as R;
    for (text, refusal) in [
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", R::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", R::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", R::ObsoleteFold),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", R::HeaderName),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", R::AmbiguousLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", R::ContentLengthRepeated),
        ("HTTP/1.1 304 Not\r\nContent-Length: x\r\n\r\n", R::ContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", R::TransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", R::TransferEncodingOld),
        ("HTTP/1.1 20 OK\r\n\r\n", R::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", R::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", R::Version),
        ("ICY 200 OK\r\n\r\n", R::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", R::StatusLine),
        ("HTTP/1.1 099 Low\r\n\r\n", R::StatusLine),
    ] {
        assert_eq!(response(text).map(|head| format!("{head:?}")), Err(refusal), "{text:?}");
    }
    assert_eq!(response("HTTP/1.1 200\r\n\r\n").unwrap().status, 200);
    assert_eq!(response("HTTP/1.1 299 \r\n\r\n").unwrap().status, 299);
}

#[test]
fn trailers_that_must_not_stand_there_are_dropped() {
    let section = Bytes::from(
        "X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: x\r\nGrpc-Status: 0\r\n\r\n",
    );
    let trailers = parse_trailers(&section).unwrap();
    let names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-sum", "grpc-status"]);
    assert_eq!(parse_trailers(&Bytes::from("A b: c\r\n\r\n")).unwrap_err(), Refusal::Trailers);
}

/// What a connection would see: fed piece by piece.
fn feed(pieces: &[&[u8]]) -> String {
    let limits = HeadLimits { max_head: 120, max_first_line: 60, max_headers: 4 };
    let (mut buffer, mut scan) = (BytesMut::new(), Scan::default());
    let mut seen = String::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match next_request(&mut buffer, &limits, &mut scan) {
                Ok(Some(head)) => seen.push_str(&format!("{head:?}\n")),
                Ok(None) => break,
                Err(refusal) => return format!("{seen}{refusal:?}"),
            }
        }
    }
    format!("{seen}{:?}", buffer)
}

fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("GET / HTTP/1.1\r\n"),
        Just("POST /path?q HTTP/1.1\r\n"),
        Just("Host: a\r\n"),
        Just("Host: a"),
        Just("Content-Length: 3\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("A: b"),
        Just("\r\n"),
        Just("\r\n\r\n"),
        Just("\r"),
        Just("\n"),
        Just(" "),
        Just(":"),
        Just("\0"),
        Just("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_heads_and_refusals(
        start in prop_oneof![Just("".to_owned()), Just("GET / HTTP/1.1\r\nHost: a\r\n".to_owned())],
        rest in head_like(),
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let input = [start.as_bytes(), &rest].concat();
        let whole = feed(&[&input]);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&feed(&single), &whole);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&feed(&pieces), &whole);
    }

    #[test]
    fn no_bytes_whatever_make_the_parser_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&mut BytesMut::from(&input[..]), &HeadLimits::default());
        let _ = parse_response(&mut BytesMut::from(&input[..]), &Method::GET, &HeadLimits::default());
    }
}
