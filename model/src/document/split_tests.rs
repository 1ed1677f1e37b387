use super::*;

fn cut(text: &str) -> Vec<(&str, u32)> {
    let all = parts(text);
    assert!(all.iter().all(|part| text[part.offset..].starts_with(part.text)));
    all.iter().map(|part| (part.text, part.line)).collect()
}

#[test]
fn documents_are_cut_at_markers_and_know_their_lines() {
    assert_eq!(cut("a: 1\n---\nb: 2\n"), [("a: 1\n", 0), ("b: 2\n", 2)]);
    assert_eq!(cut("---\na: 1\n...\n---\nb: 2"), [("a: 1\n", 1), ("b: 2", 4)]);
    assert_eq!(cut("a: 1\r\n---\r\nb: 2\r\n"), [("a: 1\r\n", 0), ("b: 2\r\n", 2)]);
    assert_eq!(cut("--- {a: 1}\n"), [("--- {a: 1}\n", 0)], "a marker with content stays with it");
}

#[test]
fn what_only_looks_like_a_marker_is_none() {
    assert_eq!(cut("a: |\n  ---\n  b\n---x: 1\n").len(), 1);
}

#[test]
fn parts_of_comments_only_are_left_out_and_directives_stay_with_their_document() {
    assert_eq!(cut("# licence\n---\n\u{feff}  # nothing\n---\n\n---\na: 1\n"), [("a: 1\n", 6)]);
    assert_eq!(cut("%YAML 1.2\n---\na: 1\n"), [("%YAML 1.2\n---\na: 1\n", 0)]);
    assert_eq!(cut(""), []);
}
