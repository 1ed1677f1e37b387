use super::*;
use crate::source::parse_documents;
use crate::world::{MeshSettings, World};

fn services(names: &[&str], book: &mut AddressBook) -> BTreeMap<Arc<str>, Vec<IpAddr>> {
    let yaml: String = names
        .iter()
        .map(|n| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {n}}}\nspec: {{ports: [{{port: 80}}], selector: {{app: {n}}}}}\n---\n"))
        .collect();
    let parsed = parse_documents("t.yaml", &yaml, "default");
    let world = World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), book);
    let of = |s: &WorldService| match &s.addresses {
        VirtualAddresses::Virtual(addresses) => addresses.clone(),
        other => panic!("{other:?}"),
    };
    world.services.values().map(|service| (service.name.clone(), of(service))).collect()
}

#[test]
fn a_service_keeps_its_address_over_a_restart_and_beside_newcomers() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("addresses.json");
    let mut book = AddressBook::open(&file, AddressRanges::default()).unwrap();
    let before = services(&["a", "b"], &mut book);
    book.save().unwrap();
    let mut book = AddressBook::open(&file, AddressRanges::default()).unwrap();
    let after = services(&["c", "b", "a", "d"], &mut book);
    assert_eq!((&before["a"], &before["b"]), (&after["a"], &after["b"]));
    let all: BTreeSet<&IpAddr> = after.values().flatten().collect();
    assert_eq!(all.len(), 8, "two addresses each, none twice");
}

#[test]
fn an_address_that_the_user_gave_stays() {
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.7, ports: [{port: 80}], selector: {app: a}}\n";
    let parsed = parse_documents("t.yaml", yaml, "default");
    let mut book = AddressBook::in_memory(AddressRanges::default());
    let world =
        World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), &mut book);
    let service = &world.services["a.default.svc.cluster.local"];
    assert_eq!(service.addresses, VirtualAddresses::Virtual(vec!["10.96.0.7".parse().unwrap()]));
}

#[test]
fn a_file_that_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("addresses.json");
    fs::write(&file, "not json").unwrap();
    assert!(AddressBook::open(&file, AddressRanges::default()).is_err());
}
