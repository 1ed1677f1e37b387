use serde_json::{Value, json};

use super::{event, involved};
use crate::webhook::review::Review;

fn review(metadata: Value) -> Review {
    Review {
        uid: "u".to_owned(),
        kind: "Pod".to_owned(),
        namespace: "shop".to_owned(),
        operation: "CREATE".to_owned(),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
        old_object: Value::Null,
        dry_run: false,
    }
}

#[test]
fn an_event_is_about_the_owner_of_a_pod_that_never_was() {
    let owners = json!([
        {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "1"},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "2", "controller": true},
    ]);
    let event = event(
        involved(&review(json!({"generateName": "web-1-", "ownerReferences": owners}))),
        "Warning",
        "Reason",
        "why",
    );
    let involved = event.involved_object;
    assert_eq!(involved.kind.as_deref(), Some("ReplicaSet"));
    assert_eq!((involved.name.as_deref(), involved.uid.as_deref()), (Some("web-1"), Some("2")));
    assert_eq!(involved.namespace, event.metadata.namespace);
    assert!(event.metadata.name.unwrap().starts_with("web-1."));
}

#[test]
fn without_an_owner_it_is_about_the_pod_and_long_messages_are_cut() {
    let event =
        event(involved(&review(json!({"generateName": "one-"}))), "Normal", "Reason", &"ä".repeat(2000));
    assert_eq!(event.involved_object.name.as_deref(), Some("one"));
    assert_eq!(event.message.unwrap().len(), 1024);
}
