use super::*;
use crate::source::parse_documents;

fn set(origin: Origin, names: &[&str]) -> Objects {
    let mut objects = Objects::default();
    for name in names {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        );
        let mut object = Object::clone(&parse_documents("a.yaml", &text, "default").objects[0]);
        object.origin = origin;
        objects.by_name.insert(object.reference.clone(), Arc::new(object));
    }
    objects
}

#[test]
fn the_directory_wins_over_the_store_with_a_warning() {
    let (store, directory) = (set(Origin::Api, &["a", "b"]), set(Origin::Directory, &["b", "c"]));
    let merged = Objects::merge([&store, &directory]);
    let origins: Vec<_> = merged.by_name.values().map(|object| object.origin).collect();
    assert_eq!(origins, [Origin::Api, Origin::Directory, Origin::Directory]);
    assert_eq!(merged.findings.len(), 1);
    assert_eq!(
        merged.findings[0].to_string(),
        "warning[conflict]: Service/default/b is in the API's store and in the directory (a.yaml); the directory wins (Service/default/b); delete one of them: `weft delete`, or remove it from the file"
    );
}

#[test]
fn changes_are_what_is_new_other_or_gone() {
    let before = set(Origin::Api, &["a", "b"]);
    let mut after = before.clone();
    after.by_name.retain(|name, _| &*name.name != "a");
    after.by_name.extend(set(Origin::Api, &["c"]).by_name);
    let events: Vec<_> = after
        .changes_since(&before)
        .into_iter()
        .map(|event| match event {
            SourceEvent::Applied(object) => format!("+{}", object.name()),
            SourceEvent::Deleted(name) => format!("-{}", name.name),
        })
        .collect();
    assert_eq!(events, ["-a", "+c"]);
}
