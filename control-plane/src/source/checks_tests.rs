use super::*;

#[test]
fn durations_of_istio_are_those_of_go() {
    let ok = |text: &str| go_duration(text).unwrap();
    assert_eq!(ok("1h30m"), Duration::from_secs(5400));
    assert_eq!(ok("1.5s"), Duration::from_millis(1500));
    assert_eq!(ok("250ms"), Duration::from_millis(250));
    assert_eq!(ok("0s"), Duration::ZERO);
    assert_eq!(ok("10us"), Duration::from_micros(10));
    for text in ["", "5", "s", "-1s", "1 s", "1d", "1s2", "1..2s", "99999999999h"] {
        assert!(go_duration(text).is_err(), "{text}");
    }
    assert_eq!(go_duration("5").unwrap_err().hint, "add a unit, such as 5s");
}

#[test]
fn durations_of_the_gateway_api_have_whole_numbers_and_four_parts_at_most() {
    assert_eq!(gateway_duration("1h30m").unwrap(), Duration::from_secs(5400));
    assert_eq!(gateway_duration("500ms").unwrap(), Duration::from_millis(500));
    assert_eq!(gateway_duration("0s").unwrap(), Duration::ZERO);
    for text in ["", "1.5s", "5", "100000s", "1us", "1s1s1s1s1s", "s", "-1s"] {
        assert!(gateway_duration(text).is_err(), "{text}");
    }
}

#[test]
fn hosts_are_names_short_names_addresses_and_leading_wildcards() {
    for text in [
        "reviews",
        "reviews.default.svc.cluster.local",
        "*",
        "*.example.com",
        "10.0.0.1",
        "fd00::1",
        "a_b.c",
        "Reviews.COM",
        "x.",
    ] {
        assert!(host(text).is_ok(), "{text}");
    }
    for text in ["", "a..b", "-a", "a-", "a.*.b", "*a.b", "http://x", "x/y", "x:80", "a b"] {
        assert!(host(text).is_err(), "{text}");
    }
    assert_eq!(host("x:80").unwrap_err().hint, "write `x`; the port has a field of its own");
    assert!(plain_host("*.a").is_err());
}

#[test]
fn names_follow_kubernetes() {
    assert!(dns_label("reviews-v1").is_ok());
    assert_eq!(dns_label("My_App").unwrap_err().hint, "did you mean `my-app`?");
    assert!(dns_label(&"a".repeat(64)).is_err());
    assert!(service_name("1a").is_err());
    assert!(dns_subdomain("a.b-c.d").is_ok());
    assert!(dns_subdomain("a..b").is_err());
    assert!(dns_subdomain("../x").is_err());
    for key in ["app", "app.kubernetes.io/name", "a_B.c-d"] {
        assert!(qualified_name(key).is_ok(), "{key}");
    }
    for key in ["", "/a", "a/", "-a", "a b", "A_/x"] {
        assert!(qualified_name(key).is_err(), "{key}");
    }
    assert!(label_value("").is_ok() && label_value("v1.0").is_ok() && label_value("-v").is_err());
}

#[test]
fn networks_headers_and_patterns_are_checked() {
    assert_eq!(subnet("10.1.0.0/16").unwrap(), ("10.1.0.0".parse().unwrap(), 16));
    assert_eq!(subnet("fd00::1").unwrap().1, 128);
    assert!(subnet("10.0.0.0/33").is_err() && subnet("x").is_err());
    assert!(header_name("x-user").is_ok() && header_name("a b").is_err());
    assert!(header_name(":path").unwrap_err().message.contains("pseudo"));
    assert!(header_value("a\nb").is_err());
    assert!(pattern("/v[0-9]+/.*").is_ok());
    assert!(pattern("a)(b").is_err(), "the anchoring group must not mend it");
    assert!(pattern("(?=x)").unwrap_err().hint.contains("look-around"));
}
