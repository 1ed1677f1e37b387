use super::*;

#[test]
fn paths_take_the_form_that_istio_calls_base() {
    let cases = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/..", "/"),
        ("/.", "/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E/b", "/a/b"),
        ("/a/.%2e/b", "/b"),
        ("\\a", "\\a"),
        ("/\\a\\b", "//a/b"),
        ("/a\\..\\b", "/b"),
        ("/%61dmin", "/admin"),
        ("/%7Euser", "/~user"),
        ("/a%2fb", "/a%2fb"),
        ("/a%20b", "/a%20b"),
        ("/a%", "/a%"),
        ("/a%4", "/a%4"),
        ("/a%zz", "/a%zz"),
        ("/adm%6%39n", "/adm%6%39n"),
        ("/adm%%36%39n", "/adm%%369n"),
        ("/adm%6%7an", "/adm%6zn"),
        ("/%é", "/%é"),
        ("/a//b", "/a//b"),
        ("//a/../b", "//b"),
        ("/a/.b", "/a/.b"),
        ("/a/...", "/a/..."),
        ("/a/../b?x=/../y&z=%2e", "/b?x=/../y&z=%2e"),
        ("/a?b/../c", "/a?b/../c"),
        ("*", "*"),
        ("example.com:443", "example.com:443"),
    ];
    for (path, expected) in cases {
        assert_eq!(normalised(path), expected, "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn a_normal_form_never_climbs(path in "/[a-c./%2eE\\\\é]{0,24}") {
        let normal = normalised(&path).into_owned();
        proptest::prop_assert!(normal.starts_with('/'));
        proptest::prop_assert!(!normal.split('/').any(|segment| segment == ".."), "{normal}");
    }
}
