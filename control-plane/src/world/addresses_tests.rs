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

#[test]
fn replicas_without_a_common_disk_give_the_same_addresses_in_whatever_order_services_came() {
    let names: Vec<String> = (0..400).map(|number| format!("service-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut one, mut other) =
        (AddressBook::by_hash(AddressRanges::default()), AddressBook::by_hash(AddressRanges::default()));
    let at_once = services(&names, &mut one);
    services(&names[200..], &mut other);
    let in_steps = services(&names, &mut other);
    assert_eq!(at_once, in_steps);
    let all: BTreeSet<&IpAddr> = at_once.values().flatten().collect();
    assert_eq!(all.len(), 800, "none twice");
}

#[test]
fn of_two_hosts_with_one_hash_the_older_service_keeps_its_address_when_the_other_comes() {
    let start = |host: &str| {
        let digest = Sha256::digest(host.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]])
    };
    let host = |number: u32| format!("s{number}.default.svc.cluster.local");
    let mut seen = BTreeMap::new();
    let (first, second) = (0..)
        .find_map(|number| seen.insert(start(&host(number)), number).map(|earlier| (earlier, number)))
        .unwrap();
    let yaml = |number: u32, year: u32| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, creationTimestamp: \"{year}-01-01T00:00:00Z\"}}\nspec: {{ports: [{{port: 80}}], selector: {{app: a}}}}\n---\n"
        )
    };
    let mut book = AddressBook::by_hash(AddressRanges::default());
    let mut address = |yaml: &str, number: u32| {
        let parsed = parse_documents("t.yaml", yaml, "default");
        let world =
            World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), &mut book);
        world.services[&*host(number)].addresses.clone()
    };
    for (old, new) in [(first, second), (second, first)] {
        let before = address(&yaml(old, 2025), old);
        let both = [yaml(new, 2026), yaml(old, 2025)].concat();
        assert_eq!(address(&both, old), before);
        assert_ne!(address(&both, new), before);
    }
}
