use super::*;
use crate::source::document::yaml;

fn findings(text: &str, read: impl FnOnce(&Field<'_>)) -> Vec<String> {
    let root = yaml::parse(text).0.unwrap();
    let report = Report::new("t.yaml", text);
    read(&Field::root(&root, &report));
    report.into_findings().iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_kind_does_not_ask_for_is_unknown_or_unsupported() {
    let found = findings("weigth: 1\nmirror: x\nport: 80\nstray: 1\n", |root| {
        let _ = root.message(|f| {
            f.unsupported(&["mirror"]);
            let _ = f.optional("weight");
            f.required("port")?.port()
        });
    });
    assert_eq!(
        found,
        [
            "t.yaml:1:1: error[unknown-field]: there is no field `weigth` (weigth); did you mean `weight`?",
            "t.yaml:2:1: error[unsupported]: the field `mirror` is not supported (mirror); remove it: a field that would have no effect is not accepted",
            "t.yaml:4:1: error[unknown-field]: there is no field `stray` (stray); fields here: `weight`, `port`",
        ]
    );
}

#[test]
fn a_misspelt_required_field_is_reported_once() {
    let found = findings("hots: x\n", |root| {
        let _ = root.message(|f| f.required("host").map(drop));
    });
    assert_eq!(
        found,
        ["t.yaml:1:1: error[unknown-field]: there is no field `hots` (hots); did you mean `host`?"]
    );
}

#[test]
fn wrong_types_say_what_to_do_and_reading_goes_on() {
    let found = findings("a: 1\nb: 'yes'\nc: '80'\nd: 5\ne: {}\nf: 70000\n", |root| {
        let _ = root.message(|f| {
            let _ = f.optional("a")?.text();
            let _ = f.optional("b")?.flag();
            let _ = f.optional("c")?.port();
            let _ = f.optional("d")?.duration(crate::source::checks::go_duration, Duration::ZERO);
            let _ = f.optional("e")?.items();
            let _ = f.optional("f")?.port();
            Some(())
        });
    });
    assert_eq!(
        found,
        [
            "t.yaml:1:4: error[wrong-type]: `a` must be text, not a number (a); put the value in quotes",
            "t.yaml:2:4: error[wrong-type]: `b` must be true or false, not text (b); write true, without quotes",
            "t.yaml:3:4: error[wrong-type]: `c` must be a whole number, not text (c); remove the quotes",
            "t.yaml:4:4: error[wrong-type]: `d` must be a duration, not a number (d); add a unit, such as 5s or 250ms",
            "t.yaml:5:1: error[wrong-type]: `e` must be a list, not a mapping (e); begin each item with `- `",
            "t.yaml:6:4: error[invalid-value]: `f` must be from 1 to 65535, not 70000 (f)",
        ]
    );
}

#[test]
fn null_is_absence() {
    let found = findings("a: null\nb:\n", |root| {
        let _ = root.message(|f| {
            assert!(f.optional("a").is_none());
            f.required("b").map(drop)
        });
    });
    assert_eq!(found, ["t.yaml:1:1: error[missing-field]: `b` is missing (b); add `b`"]);
}

#[test]
fn a_close_word_is_suggested_and_a_far_one_is_not() {
    let words = || ["ROUND_ROBIN", "RANDOM"].into_iter();
    assert_eq!(did_you_mean("round_robin", words()).unwrap(), "did you mean `ROUND_ROBIN`?");
    assert_eq!(did_you_mean("xyz", words()), None);
}
