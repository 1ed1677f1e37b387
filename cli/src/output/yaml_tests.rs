use serde_json::json;

use super::*;

#[test]
fn values_nest_in_block_style() {
    let value = json!({"name": "reviews", "ports": [{"port": 9080, "name": "http"}, {"port": 1}], "none": [],
        "labels": {"app": "a"}, "lists": [[1, 2]], "null": null});
    assert_eq!(
        to_yaml(&value),
        "name: reviews\nports:\n- port: 9080\n  name: http\n- port: 1\nnone: []\nlabels:\n  app: a\nlists:\n-\n  - 1\n  - 2\n\"null\": null\n"
    );
}

#[test]
fn strings_that_would_read_as_something_else_are_quoted() {
    for (string, written) in [
        ("yes", "\"yes\"\n"),
        ("1.5", "\"1.5\"\n"),
        ("", "\"\"\n"),
        ("a: b", "\"a: b\"\n"),
        ("line\nbreak", "\"line\\nbreak\"\n"),
        ("10.250.0.7", "\"10.250.0.7\"\n"),
        ("reviews-v1", "reviews-v1\n"),
    ] {
        assert_eq!(to_yaml(&json!(string)), written);
    }
}
