use weft_proto::api::ObjectRef;

use super::*;

fn stored(origin: &str, text: &str) -> StoredObject {
    let json = r#"{"kind":"Service","metadata":{"name":"a"}}"#.to_owned();
    StoredObject { origin: origin.to_owned(), yaml: text.to_owned(), json, ..StoredObject::default() }
}

fn mistake() -> Finding {
    Finding {
        severity: Severity::Error.into(),
        code: "unknown-field".to_owned(),
        message: "there is no field `prots`".to_owned(),
        hint: "did you mean `ports`?".to_owned(),
        object: Some(ObjectRef { kind: "Service".to_owned(), name: "a".to_owned(), ..ObjectRef::default() }),
        field: "spec.prots".to_owned(),
        file: "a.yaml".to_owned(),
        line: 4,
        column: 8,
        last_good_kept: true,
        ..Finding::default()
    }
}

#[test]
fn what_the_user_wrote_stays_as_it_is_and_what_nobody_wrote_is_yaml_too() {
    let objects = vec![stored("api", "kind: Service # mine\n"), stored("run", "{\"kind\": \"Service\"}\n")];
    let text = yaml(&GetResponse { objects, findings: Vec::new() });
    assert_eq!(text, "kind: Service # mine\n---\nkind: Service\nmetadata:\n  name: a\n");
}

#[test]
fn mistakes_are_in_both_forms_field_by_field() {
    let object = StoredObject { findings: vec![mistake()], ..stored("directory", "kind: Service") };
    let held_back = Finding { object: None, last_good_kept: false, ..mistake() };
    let response = GetResponse { objects: vec![object], findings: vec![held_back] };
    let list = as_json(&response, false);
    let first = &list["findings"][0];
    assert_eq!((&first["severity"], &first["code"]), (&json!("error"), &json!("unknown-field")));
    assert_eq!((&first["line"], &first["column"], &first["file"]), (&json!(4), &json!(8), &json!("a.yaml")));
    assert_eq!((&first["object"]["name"], &first["field"]), (&json!("a"), &json!("spec.prots")));
    assert_eq!((&first["hint"], &first["lastGoodKept"]), (&json!("did you mean `ports`?"), &json!(true)));
    assert_eq!(list["findings"][1]["lastGoodKept"], false);
    assert_eq!(as_json(&response, true)["status"]["findings"], list["findings"]);
    let text = yaml(&response);
    assert!(text.starts_with("kind: Service\n---\napiVersion: weft.mesh/v1alpha1\nkind: FindingList\n"), "{text}");
    assert!(text.contains("\n  line: 4\n") && text.contains("\n  lastGoodKept: true\n"), "{text}");
}
