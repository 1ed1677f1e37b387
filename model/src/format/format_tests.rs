use super::*;

#[test]
fn a_text_is_cut_at_its_operators() {
    let template = Template::parse("a%%b %REQ(X-A?:path):5% %PROTOCOL%").unwrap();
    assert_eq!(template.segments().len(), 4);
    assert_eq!(template.segments()[0], Segment::Literal("a%b ".into()));
    assert!(matches!(&template.segments()[1], Segment::Operator { max: Some(5), .. }));
    assert!(template.as_literal().is_none());
    assert_eq!(Template::parse("100%%").unwrap().as_literal(), Some("100%"));
    assert_eq!(Template::parse("").unwrap().as_literal(), Some(""));
}

#[test]
fn every_mistake_is_named_with_its_position() {
    let errors = Template::parse("%NOTHING% and %REQ%").unwrap_err();
    assert_eq!(errors.iter().map(|error| error.position).collect::<Vec<_>>(), [1, 15]);
}
