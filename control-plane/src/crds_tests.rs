use super::*;

#[test]
fn every_policy_kind_has_its_facts_and_one_stored_version() {
    for kind in policies() {
        assert!(FACTS.iter().any(|facts| facts.kind == kind.name), "{}: add its facts", kind.name);
        let definition = definition(kind);
        let versions = &definition.spec.versions;
        assert_eq!(versions.iter().filter(|version| version.storage).count(), 1, "{}", kind.name);
        let served: Vec<&str> = versions.iter().map(|version| version.name.as_str()).collect();
        assert_eq!(served, kind.versions, "what is read is served");
    }
    assert_eq!(all().len(), FACTS.len());
}

#[test]
fn kinds_of_kubernetes_itself_are_no_policies() {
    assert!(is_built_in(Kind::named("Service").unwrap()));
    assert!(!is_built_in(Kind::named("HTTPRoute").unwrap()));
    assert!(all().iter().all(|definition| !definition.spec.group.is_empty()));
}

#[test]
fn a_definition_below_kubernetes_domain_has_the_annotation_that_the_api_server_demands() {
    let annotated = |name: &str| definition(Kind::named(name).unwrap()).metadata.annotations.is_some();
    assert!(annotated("HTTPRoute"));
    assert!(!annotated("VirtualService"));
}
