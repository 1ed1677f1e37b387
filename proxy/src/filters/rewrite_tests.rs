use super::*;

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix { prefix: text.into(), ignore_case: false }
}

#[test]
fn prefixes_are_replaced_as_the_gateway_api_table_says() {
    // Request, prefix, replacement, result: the table of `ReplacePrefixMatch`.
    let table = [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
    ];
    for (request, matched, replacement, expected) in table {
        let rewrite = PathRewrite::Prefix(replacement.into());
        let matches = PathMatch::SeparatedPrefix(matched.into());
        assert_eq!(rewritten(&rewrite, &matches, request), expected, "{request} {matched} {replacement}");
    }
}

#[test]
fn istios_prefixes_are_replaced_byte_by_byte_without_doubling_a_slash() {
    for (request, matched, replacement, expected) in [
        ("/foobar", "/foo", "/x", "/xbar"),
        ("/foo/bar", "/foo/", "/x/", "/x/bar"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/a?q=/a", "/", "/v2/", "/v2/a?q=/a"),
    ] {
        let rewrite = PathRewrite::Prefix(replacement.into());
        assert_eq!(rewritten(&rewrite, &prefix(matched), request), expected);
    }
}

#[test]
fn a_full_rewrite_keeps_the_query() {
    assert_eq!(rewritten(&PathRewrite::Full("/new".into()), &prefix("/"), "/old/path?a=b"), "/new?a=b");
    let exact = PathMatch::Exact { path: "/old".into(), ignore_case: false };
    assert_eq!(rewritten(&PathRewrite::Prefix("/new".into()), &exact, "/old?x"), "/new?x");
}

#[test]
fn a_target_keeps_its_authority() {
    let uri = with_path(&Uri::from_static("http://a.example/x?y"), "/z?w").unwrap();
    assert_eq!(uri.to_string(), "http://a.example/z?w");
    assert_eq!(with_path(&Uri::from_static("/x"), "/z").unwrap().to_string(), "/z");
}
