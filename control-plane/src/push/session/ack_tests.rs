use super::*;

#[test]
fn a_complaint_is_searched_for_whole_names() {
    let complaint =
        "Error adding/updating cluster(s) outbound|80||reviews.default: bad, `b`: worse. See route:9080.";
    for name in ["outbound|80||reviews.default", "b", "route:9080"] {
        assert!(mentions(complaint, name), "{name}");
    }
    for name in [
        "outbound|80||reviews",
        "reviews.default",
        "80",
        "updat",
        "",
        "route",
        "outbound|80||reviews.default.svc",
    ] {
        assert!(!mentions(complaint, name), "{name}");
    }
}

#[test]
fn a_long_complaint_is_cut_between_characters() {
    let long = "ä".repeat(MESSAGE);
    assert!(shortened(&long).len() <= MESSAGE);
    assert!(long.starts_with(shortened(&long)));
}
