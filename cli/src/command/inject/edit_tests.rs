use serde_json::{Value as Json, json};
use weft_control_plane::source::document::{json::to_json, yaml};

use super::rewritten;

fn document(text: &str) -> Json {
    let (root, errors) = yaml::parse(text);
    assert!(errors.is_empty(), "{errors:?}");
    to_json(&root.unwrap())
}

/// The text after a change of its values, which is there in any case.
fn changed(text: &str, change: impl FnOnce(&mut Json)) -> (String, bool) {
    let (root, _) = yaml::parse(text);
    let mut new = document(text);
    change(&mut new);
    let (edited, kept) = rewritten(text, &root.unwrap(), &new);
    assert_eq!(document(&edited), new, "{edited}");
    (edited, kept)
}

const POD: &str = "\
# A pod.
apiVersion: v1
kind: Pod   # indeed
metadata:
    name: a   # by name

    labels: {app: a}
spec:
    # Both of them.
    containers:
      # The first.
      - image: 'a:1'   # quoted
        name: a
        args:
        - |
          several
          lines
      - name: b   # the second
        image: b:2
# The end.
";

#[test]
fn what_did_not_change_is_as_it_was() {
    assert_eq!(changed(POD, |_| {}), (POD.to_owned(), true));
}

#[test]
fn what_is_new_stands_behind_what_was_before_it() {
    let (text, kept) = changed(POD, |pod| {
        pod["metadata"]["annotations"] = json!({"b/c": "1"});
        pod["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "yes"}]);
        pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "first"}));
        pod["spec"]["volumes"] = json!([{"name": "v"}]);
    });
    let expected = "\
# A pod.
apiVersion: v1
kind: Pod   # indeed
metadata:
    name: a   # by name

    labels: {app: a}
    annotations:
      b/c: \"1\"
spec:
    # Both of them.
    containers:
      - name: first
      # The first.
      - image: 'a:1'   # quoted
        name: a
        args:
        - |
          several
          lines
        env:
        - name: A
          value: \"yes\"
      - name: b   # the second
        image: b:2
    volumes:
    - name: v
# The end.
";
    assert_eq!((text.as_str(), kept), (expected, true));
    // And back again.
    assert_eq!(changed(expected, |pod| *pod = document(POD)), (POD.to_owned(), true));
}

#[test]
fn values_in_braces_are_written_anew_alone() {
    let (text, kept) = changed(POD, |pod| pod["metadata"]["labels"]["version"] = json!("v1"));
    assert!(kept);
    assert!(text.contains("    labels:\n      app: a\n      version: v1\nspec:"), "{text}");
    assert!(text.contains("# A pod.") && text.contains("# quoted"));
    let (text, kept) = changed("spec:\n  volumes: []   # none yet\n  x: 1\n", |pod| {
        pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    });
    assert_eq!((text.as_str(), kept), ("spec:\n  volumes:\n  - name: v\n    emptyDir: {}   # none yet\n  x: 1\n", true));
}

#[test]
fn scalars_change_in_place() {
    let (text, _) = changed("a: 1 # one\nb:\n- x\n- y # why\nc:\n", |value| {
        value["a"] = json!(2);
        value["b"] = json!(["x", "z"]);
        value["c"] = json!({"d": true});
    });
    assert_eq!(text, "a: 2 # one\nb:\n- x\n- z\nc:\n  d: true\n");
}

#[test]
fn lines_may_end_as_on_windows_and_the_last_may_not_end() {
    let (text, kept) = changed("a:\r\n  b: 1\r\nc: 2", |value| {
        value["a"]["d"] = json!(3);
        value["e"] = json!(4);
    });
    assert_eq!((text.as_str(), kept), ("a:\r\n  b: 1\r\n  d: 3\r\nc: 2\r\ne: 4", true));
}

#[test]
fn letters_beyond_ascii_move_nothing() {
    let (text, _) = changed("ä: grün # köstlich\nb:\n  ö: 1\n", |value| value["b"]["x"] = json!("ü"));
    assert_eq!(text, "ä: grün # köstlich\nb:\n  ö: 1\n  x: \"ü\"\n");
}

#[test]
fn aliases_do_not_change_what_they_stand_for_elsewhere() {
    let text = "base: &base\n  a: 1\none: *base\ntwo:\n  <<: *base\n  b: 2\n";
    let (_, _) = changed(text, |value| value["one"]["c"] = json!(3));
    let (_, _) = changed(text, |value| value["two"]["c"] = json!(3));
}

#[test]
fn json_stays_json() {
    let (text, kept) = changed("{\"a\": {\"b\": 1}}\n", |value| value["a"]["c"] = json!(2));
    assert!(kept && text.starts_with('{'), "{text}");
}

#[test]
fn braces_end_where_they_are_closed() {
    for text in ["{}", "{a: '}', b: \"\\\"]\"}", "[a, {b: it's}]", "[ # ]\n  x]", "{a: 'it''s }'}"] {
        assert_eq!(super::end_of_braces(&format!("{text} # ]\n")), text.len(), "{text}");
    }
}
