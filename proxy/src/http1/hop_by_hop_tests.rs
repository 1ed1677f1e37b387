use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_belongs_to_one_connection_does_not_travel() {
    let mut headers = headers(&[
        ("connection", "close, X-Secret"),
        ("connection", "keep-alive"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "gzip, Trailers;q=0.5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-kept", "1"),
    ]);
    strip_request(&mut headers, false);
    assert_eq!(names(&headers), ["x-kept"]);
}

#[test]
fn trailers_are_the_only_thing_that_te_may_still_say() {
    let mut headers = headers(&[("te", "gzip"), ("te", "trailers"), ("connection", "te")]);
    strip_request(&mut headers, false);
    assert_eq!(headers["te"], "trailers");
    assert_eq!(names(&headers), ["te"]);
}

#[test]
fn nobody_can_have_the_host_or_the_forwarding_fields_removed() {
    let mut headers = headers(&[
        ("connection", "host, x-forwarded-for, content-length, authorization"),
        ("host", "a"),
        ("x-forwarded-for", "1.2.3.4"),
        ("content-length", "3"),
        ("authorization", "x"),
    ]);
    strip_request(&mut headers, false);
    assert_eq!(names(&headers), ["authorization", "content-length", "host", "x-forwarded-for"]);
}

#[test]
fn an_upgrade_is_kept_when_it_is_to_be_tunnelled() {
    let mut kept = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade_requested(&kept).unwrap(), "websocket");
    strip_request(&mut kept, true);
    assert_eq!(names(&kept), ["upgrade"]);
}

#[test]
fn http2_is_never_tunnelled_past_the_rules() {
    for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0"] {
        let headers = headers(&[("connection", "upgrade"), ("upgrade", protocol)]);
        assert_eq!(upgrade_requested(&headers), None, "{protocol}");
    }
    assert_eq!(upgrade_requested(&headers(&[("upgrade", "websocket")])), None);
}
