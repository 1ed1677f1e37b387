use serde_json::{Value, json};

use super::{Response, read};

fn review(request: Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
        .into_bytes()
}

#[test]
fn a_review_is_read() {
    let body = review(json!({
        "uid": "u1", "kind": {"kind": "Pod"}, "namespace": "shop", "operation": "CREATE",
        "object": {"a": 1}, "dryRun": true,
    }));
    let read = read(&body).unwrap();
    assert_eq!((read.uid.as_str(), read.kind.as_str(), read.namespace.as_str()), ("u1", "Pod", "shop"));
    assert_eq!(read.object, json!({"a": 1}));
    assert!(read.old_object.is_null() && read.dry_run);
}

#[test]
fn what_is_none_is_answered_as_well_as_it_can_be() {
    for body in ["", "{", "[]", "null", "7", "{}", r#"{"request": 1}"#] {
        let unreadable = read(body.as_bytes()).unwrap_err();
        assert_eq!(unreadable.uid, None, "{body}");
        assert!(unreadable.message.contains("AdmissionReview"), "{}", unreadable.message);
    }
    let old =
        br#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "u"}}"#;
    let unreadable = read(old).unwrap_err();
    assert_eq!(unreadable.uid.as_deref(), Some("u"));
    assert!(unreadable.message.contains("admission.k8s.io/v1`") || unreadable.message.contains("v1beta1"));
    assert_eq!(read(&review(json!({"uid": "u", "object": "text"}))).unwrap_err().uid.as_deref(), Some("u"));
    assert_eq!(read(&review(json!({"uid": "", "object": {}}))).unwrap_err().uid, None);
}

#[test]
fn warnings_fit_what_kubernetes_takes() {
    let long = "ä".repeat(300);
    let many = std::iter::repeat_n(long, 40);
    let answer: Value = serde_json::from_slice(&Response::allowed("u").warned(many).to_json()).unwrap();
    let warnings = answer["response"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 16);
    assert!(warnings.iter().all(|warning| warning.as_str().unwrap().len() == 256));
}
