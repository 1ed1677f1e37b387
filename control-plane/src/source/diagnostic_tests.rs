use super::*;

#[test]
fn an_excerpt_shows_lines_around_the_place_with_a_marker_and_the_hint() {
    let text = "one: 1\ntwo: 2\nthree: 3\nfour: 4\nfive: 5\nsix: 6\n";
    let start = text.find("four").unwrap();
    let span = Span { line: 4, column: 1, bytes: start..start + 4 };
    let finding = Finding::new(Severity::Error, code::UNKNOWN_FIELD, "x").hint("did you mean `for`?");
    let finding = finding.at(&"f.yaml".into(), text, 0, &span);
    insta::assert_snapshot!(finding.excerpt, @r"
     --> f.yaml:4:1
      |
    2 | two: 2
    3 | three: 3
    4 | four: 4
      | ^^^^ did you mean `for`?
    5 | five: 5
    6 | six: 6
      |
    ");
    assert_eq!((finding.line, finding.column), (4, 1));
}

#[test]
fn places_at_the_edges_and_in_empty_texts_do_not_panic() {
    for text in ["", "\n", "é", "a", "\n\n\n", "a\nb"] {
        for start in 0..=text.len() + 1 {
            for end in start..=text.len() + 1 {
                let finding = Finding::new(Severity::Warning, code::NO_EFFECT, "x");
                let _ = finding.at(&"f".into(), text, 3, &Span { line: 1, column: 1, bytes: start..end });
            }
        }
    }
}

#[test]
fn a_finding_becomes_the_wire_type() {
    let object = ObjectRef::new("v1", "Service", "shop", "reviews");
    let finding =
        Finding::new(Severity::Warning, code::CONFLICT, "twice").hint("keep one").of(&object, "spec");
    let wire = api::Finding::from(&finding);
    assert_eq!(wire.severity, i32::from(api::Severity::Warning));
    assert_eq!((wire.code.as_str(), wire.field.as_str(), wire.line), ("conflict", "spec", 0));
    assert_eq!(wire.object.unwrap().name, "reviews");
    assert_eq!(finding.to_string(), "warning[conflict]: twice (spec of Service/shop/reviews); keep one");
}

#[test]
fn findings_of_one_text_have_a_bound() {
    let report = Report::new("f", "x");
    for _ in 0..2000 {
        report.add(Finding::new(Severity::Error, code::WRONG_TYPE, "x"), "a", &Span::default());
    }
    assert_eq!(report.errors(), 2000);
    assert_eq!(report.into_findings().len(), MAX_FINDINGS + 1);
}

#[test]
fn of_a_very_long_line_only_the_part_around_the_place_is_shown() {
    let text = format!("a: [{}é, HERE{}]\n", "x, ".repeat(100_000), ", y".repeat(100_000));
    let start = text.find("HERE").unwrap();
    let span = Span { line: 1, column: 9, bytes: start..start + 4 };
    let finding = Finding::new(Severity::Error, code::WRONG_TYPE, "x").at(&"f.yaml".into(), &text, 0, &span);
    assert!(finding.excerpt.len() < 1000, "{}", finding.excerpt.len());
    assert!(finding.excerpt.contains("HERE") && finding.excerpt.contains("^^^^"), "{}", finding.excerpt);
}
