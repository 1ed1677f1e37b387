use super::*;

#[test]
fn names_are_dns_labels() {
    for good in ["a", "reviews-v1", "0"] {
        assert_eq!(label(good), Ok(()));
    }
    for (bad, why) in [
        ("", "empty"),
        ("-a", "start and end"),
        ("a-", "start and end"),
        ("A", "a to z"),
        ("a/b", "a to z"),
        ("..", "a to z"),
    ] {
        assert!(label(bad).unwrap_err().contains(why));
    }
    assert!(label(&"a".repeat(64)).unwrap_err().contains("63"));
}

#[test]
fn label_values_are_as_in_kubernetes() {
    for good in ["", "v1", "1.2_3-x"] {
        assert_eq!(label_value(good), Ok(()));
    }
    for bad in ["-v", "v.", "a b", "ü"] {
        assert!(label_value(bad).is_err(), "{bad}");
    }
}
