use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use weft_model::cluster::UpstreamTransport;

use super::*;
use crate::compile::{Mode, ProxyScope, WorldCompiler, configuration};
use crate::push::{Compiler, ResourceType};
use crate::source::parse_documents;
use crate::world::{AddressBook, AddressRanges, MeshSettings};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
";

/// A workload of the service; an empty account is not told.
fn workload(version: &str, account: &str) -> String {
    let account = if account.is_empty() { String::new() } else { format!("serviceAccount: {account}, ") };
    let number = version.trim_start_matches('v');
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: reviews-{version}}}\n\
         spec: {{address: 10.0.0.{number}, {account}labels: {{app: reviews, version: {version}, security.istio.io/tlsMode: istio}}}}\n---\n"
    )
}

fn world(revision: u64, yaml: &str) -> World {
    let parsed = parse_documents("t.yaml", yaml, "default");
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let mut book = AddressBook::in_memory(AddressRanges::default());
    World::build(revision, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), &mut book)
}

fn reviews(revision: u64, workloads: &[(&str, &str)]) -> World {
    let workloads: String = workloads.iter().map(|(version, account)| workload(version, account)).collect();
    world(revision, &format!("{SERVICE}{workloads}"))
}

fn scope() -> ProxyScope {
    let labels = crate::source::words::Labels::new();
    ProxyScope {
        namespace: "default".into(),
        labels,
        app_ports: Vec::new(),
        named_ports: BTreeMap::new(),
        node: None,
        mode: Mode::Intercept,
    }
}

/// The service accounts that clients accept.
fn accounts(world: &World, cluster: &str) -> Vec<String> {
    let compiled = configuration(world, &scope());
    let cluster = compiled.clusters.iter().find(|it| &*it.name == cluster).unwrap();
    let (UpstreamTransport::ByEndpoint(tls) | UpstreamTransport::MutualTls(tls)) = &cluster.transport else {
        panic!("{cluster:?}")
    };
    tls.identities.iter().map(|it| it.rsplit('/').next().unwrap().to_owned()).collect()
}

const ALL: &str = "outbound|9080||reviews.default.svc.cluster.local";
const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

#[test]
fn clients_accept_the_identities_of_the_workloads_behind_a_cluster_and_no_others() {
    let both = reviews(1, &[("v1", "one"), ("v2", "two")]);
    assert_eq!(accounts(&both, ALL), ["one", "two"]);
    assert_eq!(accounts(&both, V1), ["one"], "a subset has its own");
    let unknown = reviews(1, &[("v1", "one"), ("v2", "")]);
    assert_eq!(accounts(&unknown, ALL), [""; 0], "anybody: one may have any identity");
    assert_eq!(accounts(&unknown, V1), ["one"]);
}

#[test]
fn what_a_service_entry_names_is_accepted_beside_its_workloads() {
    let yaml = |names: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec: {{hosts: [e.example], location: MESH_INTERNAL, \
             resolution: STATIC, {names}ports: [{{number: 80, name: http}}], workloadSelector: {{labels: {{app: reviews}}}}}}\n---\n{}",
            workload("v1", "one")
        )
    };
    let cluster = "outbound|80||e.example";
    let named = "subjectAltNames: [\"spiffe://cluster.local/ns/x/sa/other\"], ";
    assert_eq!(accounts(&world(1, &yaml("")), cluster), ["one"]);
    assert_eq!(accounts(&world(1, &yaml(named)), cluster), ["one", "other"]);
    let unknown = yaml(named).replace("serviceAccount: one, ", "");
    assert_eq!(accounts(&world(1, &unknown), cluster), ["other"], "who is named is meant");
}

#[test]
fn who_leaves_is_accepted_until_it_is_known_everywhere() {
    let before = reviews(1, &[("v1", "one")]);
    let mut after = reviews(2, &[("v2", "two")]);
    after.superseded = vec![Arc::new(before)];
    assert_eq!(accounts(&after, ALL), ["one", "two"]);
    assert_eq!(accounts(&after, V1), ["one"]);
    after.superseded.clear();
    assert_eq!(accounts(&after, ALL), ["two"]);
}

#[test]
fn a_change_is_told_apart_by_whether_somebody_is_accepted_no_more() {
    let before = reviews(1, &[("v1", "one"), ("v2", "two")]);
    let after = |workloads: &[(&str, &str)]| reviews(2, workloads).accepts_all_of(&before);
    assert!(after(&[("v1", "one"), ("v2", "two")]));
    assert!(after(&[("v1", "one"), ("v2", "two"), ("v3", "three")]), "one more");
    assert!(!after(&[("v1", "one")]), "the last of its kind left");
    assert!(!after(&[("v1", "one"), ("v2", "other")]), "another account");
    let twice =
        format!("{}{}", workload("v1", "one"), workload("v1", "one").replace("reviews-v1", "replica"));
    let replicas = world(1, &format!("{SERVICE}{twice}"));
    assert!(reviews(2, &[("v1", "one")]).accepts_all_of(&replicas), "another of its kind stays");
    let relabelled = format!("{SERVICE}{}{}", workload("v1", "one"), workload("v2", "two"));
    let relabelled = world(2, &relabelled.replace("labels: {version: v1}", "labels: {version: v2}"));
    assert!(!relabelled.accepts_all_of(&before), "a subset has other workloads");
    let selected = format!("{SERVICE}{}{}", workload("v1", "one"), workload("v2", "two"));
    let selected = world(2, &selected.replace("selector: {app: reviews}", "selector: {version: v1}"));
    assert!(!selected.accepts_all_of(&before), "the service has other workloads");
}

#[test]
fn who_is_not_accepted_yet_is_no_endpoint_yet() {
    let current = Arc::new(ArcSwap::from_pointee(reviews(1, &[("v1", "one")])));
    let compiler = WorldCompiler::new(current.clone());
    let known = |set: &crate::push::ResourceSet| {
        let bytes = set.get(ALL).unwrap().bytes.clone();
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|it| bytes.windows(it.len()).any(|at| at == it.as_bytes()))
    };
    let endpoints = || known(&compiler.endpoints(&scope()).1);
    let everything = || known(compiler.resources(&scope()).set(ResourceType::Endpoint));
    assert_eq!(everything(), [true, false, false]);
    current.store(Arc::new(reviews(2, &[("v1", "one"), ("v2", "two"), ("v3", "one")])));
    assert_eq!(endpoints(), [true, false, true], "an identity that is accepted is no reason to wait");
    assert_eq!(everything(), [true, true, true], "together with the clusters");
    assert_eq!(endpoints(), [true, true, true]);
    // A first workload with a sidecar waits, too: until now anybody would be accepted in its name.
    current.store(Arc::new(reviews(3, &[])));
    assert_eq!(everything(), [false, false, false]);
    current.store(Arc::new(reviews(4, &[("v1", "one")])));
    assert_eq!((endpoints(), everything()), ([false; 3], [true, false, false]));
    compiler.forget(&scope());
    assert_eq!(endpoints(), [true, false, false]);
}
