use weft_model::route::PathRewrite;

use super::*;

const NOTHING: Redirect =
    Redirect { status: 302, scheme: None, host: None, port: None, path: None, strip_query: false };

fn location_of(redirect: Redirect) -> String {
    let response = answer(
        &redirect,
        &PathMatch::SeparatedPrefix("/old".into()),
        "http",
        "shop.example:8080",
        "/old/a?b=c",
    );
    assert_eq!(response.status().as_u16(), redirect.status);
    response.headers()["location"].to_str().unwrap().to_owned()
}

#[test]
fn what_is_not_named_is_the_requests() {
    assert_eq!(location_of(NOTHING), "http://shop.example:8080/old/a?b=c");
    assert_eq!(location_of(Redirect { status: 301, ..NOTHING }), "http://shop.example:8080/old/a?b=c");
}

#[test]
fn another_scheme_or_host_has_its_own_port() {
    let https = Redirect { scheme: Some("https".into()), ..NOTHING };
    assert_eq!(location_of(https.clone()), "https://shop.example/old/a?b=c");
    assert_eq!(
        location_of(Redirect { port: Some(8443), ..https.clone() }),
        "https://shop.example:8443/old/a?b=c"
    );
    assert_eq!(location_of(Redirect { port: Some(443), ..https }), "https://shop.example/old/a?b=c");
    assert_eq!(
        location_of(Redirect { host: Some("b.example".into()), ..NOTHING }),
        "http://b.example/old/a?b=c"
    );
}

#[test]
fn a_prefix_of_the_path_can_be_replaced() {
    let path = Some(PathRewrite::Prefix("/new".into()));
    assert_eq!(location_of(Redirect { path, ..NOTHING }), "http://shop.example:8080/new/a?b=c");
}

#[test]
fn ports_are_told_from_addresses() {
    for (authority, expected) in [
        ("a:80", ("a", Some(80))),
        ("a", ("a", None)),
        ("[::1]:80", ("[::1]", Some(80))),
        ("[::1]", ("[::1]", None)),
        ("a:x", ("a:x", None)),
    ] {
        assert_eq!(split_port(authority), expected);
    }
}
