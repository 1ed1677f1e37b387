use super::*;

fn request_text(request: &Request<()>, framing: Framing) -> String {
    let mut out = BytesMut::new();
    request_head(&mut out, request, framing, ConnectionField::None);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_copied_header_can_never_frame_a_message() {
    let request = Request::post("/x")
        .header("host", "a")
        .header("content-length", "99")
        .header("transfer-encoding", "gzip")
        .header("connection", "close, x")
        .header("keep-alive", "timeout=1")
        .header("x-kept", "1")
        .body(())
        .unwrap();
    assert_eq!(
        request_text(&request, Framing::Length(3)),
        "POST /x HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\ncontent-length: 3\r\n\r\n"
    );
    assert_eq!(
        request_text(&request, Framing::Chunked),
        "POST /x HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    );
}

#[test]
fn the_target_leaves_in_origin_form() {
    for (method, uri, line) in [
        ("GET", "http://a:81/x?y", "GET /x?y HTTP/1.1\r\nhost: a:81"),
        ("GET", "http://a", "GET / HTTP/1.1\r\nhost: a"),
        ("GET", "http://a?q", "GET /?q HTTP/1.1\r\nhost: a"),
        ("GET", "http://user:secret@a/", "GET / HTTP/1.1\r\nhost: a"),
        ("OPTIONS", "*", "OPTIONS * HTTP/1.1\r\nhost: "),
        ("OPTIONS", "http://a/", "OPTIONS / HTTP/1.1\r\nhost: a"),
        ("CONNECT", "a:443", "CONNECT a:443 HTTP/1.1\r\nhost: a:443"),
    ] {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let text = request_text(&request, Framing::Absent);
        assert_eq!(text, format!("{line}\r\n\r\n"), "{method} {uri}");
    }
}

#[test]
fn te_is_named_in_connection() {
    let request = Request::get("/").header("host", "a").header("te", "trailers").body(()).unwrap();
    assert_eq!(
        request_text(&request, Framing::Absent),
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n"
    );
}

#[test]
fn the_date_is_added_once_and_in_the_right_form() {
    let mut out = BytesMut::new();
    let (ok, none) = (StatusCode::OK, ConnectionField::None);
    response_head(&mut out, ok, &HeaderMap::new(), Framing::Length(0), none, true);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let date = text.split("date: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT") && date.as_bytes()[3] == b',', "{date}");
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("mine"));
    let mut out = BytesMut::new();
    response_head(&mut out, ok, &headers, Framing::Length(0), none, true);
    assert_eq!(&out[..], b"HTTP/1.1 200 OK\r\ndate: mine\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn cookies_that_http_2_split_are_joined() {
    let request = Request::get("/")
        .header("host", "a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    assert_eq!(
        request_text(&request, Framing::Absent),
        "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=2\r\n\r\n"
    );
}

#[test]
fn an_upgrade_leaves_only_when_it_is_meant() {
    let request = Request::get("/").header("host", "a").header("upgrade", "x").body(()).unwrap();
    assert_eq!(request_text(&request, Framing::Absent), "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut out = BytesMut::new();
    request_head(&mut out, &request, Framing::Absent, ConnectionField::Upgrade);
    assert_eq!(&out[..], b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
}

#[test]
fn lengths_of_every_size_are_written_in_full() {
    for length in [0, 9, 10, 99, 100, 1_234_567, u64::MAX] {
        let mut out = BytesMut::new();
        framing_field(&mut out, Framing::Length(length));
        assert_eq!(out, format!("content-length: {length}\r\n"));
    }
}
