use super::*;

#[test]
fn every_default_is_json_and_paths_are_unique_and_do_not_cross() {
    for (place, field) in FIELDS.iter().enumerate() {
        assert!(serde_json::from_str::<Value>(field.default).is_ok(), "{}", field.path);
        assert!(field.about.ends_with('.'), "{}", field.path);
        for other in &FIELDS[place + 1..] {
            assert!(
                other.path != field.path && !other.path.starts_with(&format!("{}.", field.path)),
                "{}",
                other.path
            );
        }
    }
}

#[test]
fn keys_below_a_path_are_those_of_the_table() {
    assert_eq!(keys_below("crds"), ["install"]);
    assert!(keys_below("").starts_with(&["revision", "namespace", "image"]));
    assert_eq!(keys_below("image.tag"), Vec::<&str>::new());
    assert_eq!(keys_below("controlPlane.autoscaling").len(), 4);
}

#[test]
fn the_json_schema_refuses_what_is_not_in_the_table() {
    let schema = json_schema();
    assert_eq!(schema.pointer("/properties/controlPlane/additionalProperties"), Some(&json!(false)));
    let replicas = schema.pointer("/properties/controlPlane/properties/replicas").unwrap();
    assert_eq!((&replicas["type"], &replicas["maximum"]), (&json!("integer"), &json!(50)));
}
