use super::*;

#[test]
fn host_becomes_the_authority() {
    let request =
        Request::get("/a?b").header("host", "reviews:9080").header("x", "y").body(()).expect("valid");
    let head = http2_head(&request).expect("has an authority");
    assert_eq!(head.uri(), "http://reviews:9080/a?b");
    assert!(head.headers().get("host").is_none());
    assert_eq!(head.headers()["x"], "y");
}

#[test]
fn an_authority_in_the_uri_wins_over_host() {
    let request = Request::get("https://a/").header("host", "b").body(()).expect("valid");
    assert_eq!(http2_head(&request).expect("has an authority").uri(), "https://a/");
}

#[test]
fn te_trailers_stays_for_grpc() {
    let request = Request::post("/").header("host", "a").header("te", "trailers").body(()).expect("valid");
    assert_eq!(http2_head(&request).expect("has an authority").headers()["te"], "trailers");
}

#[test]
fn a_request_without_authority_cannot_leave_by_http2() {
    assert!(http2_head(&Request::get("/").body(()).expect("valid")).is_none());
}

#[test]
fn split_cookies_are_joined() {
    let mut headers = HeaderMap::new();
    headers.append("cookie", HeaderValue::from_static("a=1"));
    headers.append("cookie", HeaderValue::from_static("b=2"));
    join_cookies(&mut headers);
    assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}
