use super::super::json::{from_json, to_json};
use super::*;

fn json(text: &str) -> serde_json::Value {
    let (root, errors) = parse(text);
    assert_eq!(errors, [], "{text}");
    to_json(&root.unwrap())
}

fn errors(text: &str) -> Vec<(&'static str, u32, u32)> {
    parse(text).1.iter().map(|error| (error.code, error.span.line, error.span.column)).collect()
}

#[test]
fn plain_scalars_have_the_types_of_the_core_schema() {
    let text = "{a: 1, b: -2, c: 0x1f, d: 0o17, e: 1.5, f: 1e3, g: true, h: ~, i: null, j: yes, k: '1', l: 1.2.3, m: 10s, n: .5, o: 007, p: on, q: a-b, r: 99999999999999999999}";
    assert_eq!(
        json(text),
        serde_json::json!({
            "a": 1, "b": -2, "c": 31, "d": 15, "e": 1.5, "f": 1000.0, "g": true, "h": null, "i": null, "j": "yes",
            "k": "1", "l": "1.2.3", "m": "10s", "n": 0.5, "o": 7, "p": "on", "q": "a-b", "r": 1e20,
        })
    );
}

#[test]
fn keys_and_values_know_their_places_also_after_wide_characters() {
    let text = "größe: «ü»\nlist:\n  - name: ü\n    port: 80\n";
    let root = parse(text).0.unwrap();
    let entry = root.entry("list").unwrap();
    assert_eq!((entry.key_span.line, entry.key_span.column), (2, 1));
    let span = root.locate("list[0].port");
    assert_eq!((span.line, span.column, &text[span.bytes]), (4, 5, "port"));
    let Value::Sequence(items) = &entry.value.value else { panic!() };
    assert_eq!(&text[items[0].get("name").unwrap().span.bytes.clone()], "ü");
    assert_eq!(root.locate("list[7].x"), entry.key_span, "the longest part that exists");
}

#[test]
fn aliases_stand_for_what_they_name_and_merge_keys_add() {
    let text = "base: &b {x: 1, y: 2}\ncopy: *b\nmore:\n  <<: *b\n  y: 3\n";
    assert_eq!(
        json(text),
        serde_json::json!({"base": {"x": 1, "y": 2}, "copy": {"x": 1, "y": 2}, "more": {"y": 3, "x": 1}})
    );
    assert_eq!(errors("a: &a [*a]"), [("yaml-syntax", 1, 8)]);
    assert_eq!(errors("a: *nobody").len(), 1);
}

#[test]
fn a_billion_laughs_are_refused_before_they_take_memory() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let alias = vec![format!("*a{}", level - 1); 10].join(",");
        text += &format!("a{level}: &a{level} [{alias}]\n");
    }
    let found = parse(&text);
    assert!(found.0.is_none());
    assert_eq!(found.1[0].code, "too-large");
}

#[test]
fn nesting_and_size_have_bounds() {
    assert_eq!(errors(&"[".repeat(200))[0].0, "too-large");
    let mut deep = String::new();
    for level in 0..100 {
        deep += &format!("{}a:\n", " ".repeat(level));
    }
    assert_eq!(errors(&deep)[0].0, "too-large");
    assert_eq!(parse(&"x".repeat(Bounds::UNTRUSTED.bytes + 1)).1[0].code, "too-large");
}

#[test]
fn a_mapping_of_very_many_keys_is_read_in_one_go() {
    let text: String = (0..90_000).map(|key| format!("k{key}: 1\n")).collect();
    let root = parse(&text).0.unwrap();
    assert_eq!(root.get("k89999").unwrap().value, Value::Int(1));
}

#[test]
fn duplicate_keys_tags_and_keys_that_are_no_text_are_refused_with_their_place() {
    assert_eq!(errors("a: 1\nb: 2\na: 3\n"), [("duplicate-key", 3, 1)]);
    assert_eq!(errors("a: 1\nb: !!binary x\nc: !secret y\n").len(), 2);
    assert_eq!(errors("[a]: 1")[0].0, "yaml-syntax");
}

#[test]
fn a_syntax_error_says_where() {
    let (root, errors) = parse("spec:\n  a: b\n   c: d\n");
    assert!(root.is_none());
    assert_eq!(errors[0].span.line, 3, "{errors:?}");
    let tab = parse("spec:\n\ta: b\n").1;
    assert!(tab[0].hint.contains("tabs"), "{tab:?}");
}

#[test]
fn json_becomes_the_same_tree_without_places_and_back() {
    let value = serde_json::json!({"a": [1, 2.5, "x", null, true], "b": {"c": {}}});
    assert_eq!(to_json(&from_json(&value)), value);
    assert_eq!(json(&value.to_string()), value, "JSON is YAML");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "[ -~\n\t\u{e9}]{0,200}") {
        let (root, errors) = parse(&text);
        proptest::prop_assert!(root.is_some() || !errors.is_empty() || text.trim().is_empty() || text.contains(['#', '-', '%', '.']));
    }

    #[test]
    fn yaml_like_text_never_panics(parts in proptest::collection::vec(
        proptest::sample::select(vec!["a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", "'", "\"", "|", ">", "&x ", "*x", "---\n", "...\n", "!t ", "? ", ",", "#", "%YAML 1.2\n", "\t", "é", "\r\n", "<<: "]),
        0..60,
    )) {
        let _ = parse(&parts.concat());
        for part in super::super::split::parts(&parts.concat()) {
            let (root, errors) = parse(part.text);
            for error in errors {
                proptest::prop_assert!(error.span.bytes.end <= part.text.len());
                proptest::prop_assert!(part.text.is_char_boundary(error.span.bytes.start));
            }
            if let Some(root) = root {
                proptest::prop_assert!(root.span.bytes.end <= part.text.len());
            }
        }
    }
}
