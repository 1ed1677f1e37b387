use super::*;
use weft_model::provenance::ObjectRef;

#[test]
fn a_refusal_names_the_object_and_field_it_came_from() {
    let object = ObjectRef::new("v1", "Service", "default", "reviews");
    let origin = Provenance { object, generation: 3, field: "spec.ports[0]".into() };
    let refusal = Refusal {
        proxy: "page.default".to_owned(),
        kind: ResourceType::Cluster,
        resource: "outbound|80||reviews".into(),
        message: "no".to_owned(),
        provenance: vec![origin],
    };
    let proto = refusal.to_proto();
    assert_eq!((proto.object.unwrap().name, proto.field), ("reviews".to_owned(), "spec.ports[0]".to_owned()));
    assert_eq!(proto.type_url, ResourceType::Cluster.url());
}
