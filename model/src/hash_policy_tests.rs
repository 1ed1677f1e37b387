use http::HeaderValue;

use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn of(source: HashSource) -> HashPolicy {
    HashPolicy { source, terminal: false }
}

fn by_header(name: &'static str) -> HashPolicy {
    of(HashSource::Header { name: HeaderName::from_static(name), rewrite: None })
}

fn hashed(policies: &[HashPolicy], headers: &HeaderMap) -> RequestHash {
    let facts = HashFacts { headers, path_and_query: "/a?user=7&b", client: [10, 0, 0, 9].into() };
    hash(policies, &facts, || 0xabc)
}

#[test]
fn a_header_hashes_as_its_value_whatever_the_order_of_its_lines() {
    let one = headers(&[("x-user", "anna")]);
    assert_eq!(hashed(&[by_header("x-user")], &one).hash, Some(xx_hash(b"anna", 0)));
    assert_eq!(hashed(&[by_header("x-other")], &one).hash, None);
    let lines = |first, second| headers(&[("x-user", first), ("x-user", second)]);
    let (ab, ba) = (lines("a", "b"), lines("b", "a"));
    assert_eq!(hashed(&[by_header("x-user")], &ab), hashed(&[by_header("x-user")], &ba));
    assert_eq!(hashed(&[by_header("x-user")], &ab).hash, Some(xx_hash(b"b", xx_hash(b"a", 0))));
}

#[test]
fn a_header_may_be_changed_before_it_is_hashed() {
    let rewrite = RegexRewrite::new("^user-([a-z]+)-.*$", r"\1").unwrap();
    let policy = of(HashSource::Header { name: HeaderName::from_static("x-user"), rewrite: Some(rewrite) });
    let result = hashed(&[policy], &headers(&[("x-user", "user-anna-17")]));
    assert_eq!(result.hash, Some(xx_hash(b"anna", 0)));
    assert_eq!(RegexRewrite::new("(a)", r"$1\\\1").unwrap().apply("bab"), r"b$1\ab");
    assert!(RegexRewrite::new("a", r"\1").is_err());
    assert!(RegexRewrite::new("a", r"\x").is_err());
    assert!(RegexRewrite::new("(a", "").is_err());
}

#[test]
fn query_parameters_and_addresses_hash() {
    let none = HeaderMap::new();
    let query = |name: &str| of(HashSource::QueryParameter(name.into()));
    assert_eq!(hashed(&[query("user")], &none).hash, Some(xx_hash(b"7", 0)));
    assert_eq!(hashed(&[query("b")], &none).hash, Some(xx_hash(b"", 0)));
    assert_eq!(hashed(&[query("c")], &none).hash, None);
    assert_eq!(hashed(&[of(HashSource::SourceIp)], &none).hash, Some(xx_hash(b"10.0.0.9", 0)));
}

#[test]
fn parts_are_combined_in_order_and_a_terminal_one_ends_them() {
    let headers = headers(&[("a", "1"), ("b", "2")]);
    let (a, b) = (xx_hash(b"1", 0), xx_hash(b"2", 0));
    let both = hashed(&[by_header("a"), by_header("b")], &headers).hash;
    assert_eq!(both, Some(a.rotate_left(1) ^ b));
    let end = HashPolicy { terminal: true, ..by_header("a") };
    assert_eq!(hashed(&[end, by_header("b")], &headers).hash, Some(a));
    let not_there = HashPolicy { terminal: true, ..by_header("c") };
    assert_eq!(hashed(&[not_there, by_header("b")], &headers).hash, Some(b));
    assert_ne!(hashed(&[by_header("a"), by_header("a")], &headers).hash, Some(0));
}

#[test]
fn a_client_without_the_cookie_is_given_one_that_hashes_the_same_the_next_time() {
    let cookie = CookieHash {
        name: "sticky".into(),
        ttl: Some(Duration::from_secs(60)),
        path: "/".into(),
        attributes: vec![("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())],
    };
    let policy = [of(HashSource::Cookie(cookie.clone()))];
    let first = hashed(&policy, &HeaderMap::new());
    assert_eq!(
        first.set_cookies,
        ["sticky=\"0000000000000abc\"; Max-Age=60; Path=/; SameSite=Lax; Secure; HttpOnly"]
    );
    let second = hashed(&policy, &headers(&[("cookie", "a=b; sticky=\"0000000000000abc\"")]));
    assert_eq!((second.hash, second.set_cookies.len()), (first.hash, 0));
    let session =
        CookieHash { ttl: Some(Duration::ZERO), path: "".into(), attributes: vec![], ..cookie.clone() };
    assert_eq!(set_cookie(&session, "v", Duration::ZERO), "sticky=\"v\"; HttpOnly");
    let passive = [of(HashSource::Cookie(CookieHash { ttl: None, ..cookie }))];
    assert_eq!(hashed(&passive, &HeaderMap::new()), RequestHash::default());
}
