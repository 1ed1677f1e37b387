use super::*;

#[test]
fn a_kind_is_found_by_every_name_people_use() {
    for word in
        ["vs", "VirtualService", "virtualservices", "VIRTUALSERVICE", "virtualservices.networking.istio.io"]
    {
        assert_eq!(Kind::find(word).unwrap().name, "VirtualService", "{word}");
    }
    for (word, name) in [
        ("dr", "DestinationRule"),
        ("pa", "PeerAuthentication"),
        ("se", "ServiceEntry"),
        ("we", "WorkloadEntry"),
        ("svc", "Service"),
        ("httproutes", "HTTPRoute"),
    ] {
        assert_eq!(Kind::find(word).unwrap().name, name);
    }
    assert!(Kind::find("virtualservcie").unwrap_err().contains("did you mean"));
    assert!(Kind::find("vs.wrong.io").is_err());
}

#[test]
fn names_are_unique_and_versions_read_as_in_yaml() {
    let mut words: Vec<_> = KINDS.iter().flat_map(|kind| kind.short.iter().chain([&kind.plural])).collect();
    let all = words.len();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), all);
    assert_eq!(Kind::named("Service").unwrap().api_version(), "v1");
    assert_eq!(
        Kind::named("HTTPRoute").unwrap().served().collect::<Vec<_>>(),
        ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    );
}
