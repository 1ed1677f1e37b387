use std::collections::BTreeMap;

use super::*;
use crate::source::kinds::pod::PodState;
use crate::source::{Object, Objects, Spec, parse_documents, parse_watched};
use crate::world::{AddressBook, AddressRanges, Input, MeshSettings};

const SERVICES: usize = 100;
const PODS: usize = 5_000;

fn pod(number: usize, ready: bool) -> Arc<Object> {
    let address = format!("10.{}.{}.{}", 1 + number / 60_000, number / 250 % 240, number % 250 + 1);
    let condition = if ready { "True" } else { "False" };
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{number}"), "namespace": "default",
            "labels": {"app": format!("s{}", number % SERVICES), "security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": [], "nodeName": format!("n{}", number % 2)},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": condition}]},
    });
    parse_watched(&pod).objects[0].clone()
}

fn world(extra: &str, pods: &Objects) -> World {
    let services: String = (0..SERVICES)
        .map(|n| format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec: {{selector: {{app: s{n}}}, ports: [{{port: 80}}]{extra}}}\n"))
        .collect();
    let parsed = parse_documents("t.yaml", &services, "default");
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let input = Input { objects: &parsed.objects, pods, states: &BTreeMap::new() };
    let mut book = AddressBook::in_memory(AddressRanges::default());
    World::of(1, Arc::new(MeshSettings::default()), input, &mut book)
}

fn all_pods() -> Objects {
    let pods = (0..PODS).map(|number| pod(number, true));
    Objects { by_name: pods.map(|pod| (pod.reference.clone(), pod)).collect(), findings: Vec::new() }
}

fn scope(node: Option<&str>) -> ProxyScope {
    ProxyScope {
        namespace: "default".into(),
        labels: BTreeMap::new(),
        app_ports: Vec::new(),
        named_ports: BTreeMap::new(),
        node: node.map(Arc::from),
        mode: Mode::Intercept,
    }
}

/// The next world, in which some pods are ready or not.
fn with(world: &World, pods: &[Arc<Object>]) -> World {
    let events: Vec<_> = pods.iter().map(|pod| crate::source::SourceEvent::Applied(pod.clone())).collect();
    world.with_workloads(world.revision + 1, world.pods_changed(&events))
}

#[test]
fn pods_that_are_out_of_reach_are_asked_when_there_is_nobody_else() {
    let unheard = |number: usize| {
        let mut object = (*pod(number, true)).clone();
        let Spec::Pod(pod) = &mut object.spec else { panic!() };
        pod.state = PodState::OutOfReach;
        Arc::new(object)
    };
    let world = with(&world("", &all_pods()), &[unheard(7)]);
    let sets = crate::compile::endpoints::compile(&world, &scope(None).outbound(&world), None, |_| true);
    let cluster = "outbound|80||s7.default.svc.cluster.local";
    let set = sets.iter().find(|set| &*set.cluster == cluster).unwrap();
    let per_priority = |priority| {
        let places = set.localities.iter().filter(|place| place.priority == priority);
        places.map(|place| place.endpoints.len()).sum::<usize>()
    };
    assert_eq!((per_priority(0), per_priority(1)), (PODS / SERVICES - 1, 1));
}

#[test]
fn of_a_hundred_services_and_five_thousand_pods_only_changed_sets_are_compiled() {
    let shared = Arc::new(ArcSwap::from_pointee(world("", &all_pods())));
    let compiler = WorldCompiler::new(shared.clone());
    let first = compiler.resources(&scope(None));
    assert_eq!(
        compiler.compiles(),
        Compiles { configuration: 1, endpoints: 1, endpoint_sets: SERVICES as u64 }
    );
    // A rollout: a hundred pods of one service's and another's.
    let changed: Vec<_> = (0..PODS).filter(|n| n % SERVICES < 2).map(|n| pod(n, false)).collect();
    shared.store(Arc::new(with(&shared.load(), &changed)));
    let (revision, endpoints) = compiler.endpoints(&scope(None));
    assert_eq!(revision, 2);
    let compiles = Compiles { configuration: 1, endpoints: 2, endpoint_sets: SERVICES as u64 + 2 };
    assert_eq!(compiler.compiles(), compiles);
    let before = first.set(crate::push::ResourceType::Endpoint);
    let news = endpoints.changed_since(before);
    assert_eq!(
        news.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["outbound|80||s0.default.svc.cluster.local", "outbound|80||s1.default.svc.cluster.local",]
    );
    // What is put together of old and new is what would be compiled as a whole.
    let whole = WorldCompiler::new(shared).endpoints(&scope(None)).1;
    assert!(endpoints.changed_since(&whole).is_empty() && endpoints.len() == SERVICES);
}

#[test]
fn a_node_local_service_is_answered_by_workloads_of_the_clients_node() {
    let pods = all_pods();
    let compiler =
        WorldCompiler::new(Arc::new(ArcSwap::from_pointee(world(", internalTrafficPolicy: Local", &pods))));
    let size = |scope: &ProxyScope| {
        let sets = compiler.endpoints(scope).1;
        sets.get("outbound|80||s0.default.svc.cluster.local").unwrap().bytes.len()
    };
    let (here, there, unknown) = (size(&scope(Some("n0"))), size(&scope(Some("n1"))), size(&scope(None)));
    // All pods of s0 have even numbers, and so are on n0.
    assert!(here == unknown && there < here / 10, "{here} {there} {unknown}");
}

/// A database of two pods with names of their own, behind a headless service that asks for a port by its name.
fn database() -> World {
    let pod = |name: &str, port: u16| {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "db"}},
            "spec": {"serviceAccountName": "db", "hostname": name, "subdomain": "db",
                "containers": [{"name": "c", "ports": [{"name": "sql", "containerPort": port}]}]},
            "status": {"podIP": format!("10.0.0.{}", port % 10), "conditions": [{"type": "Ready", "status": "True"}]},
        });
        parse_watched(&pod).objects[0].clone()
    };
    let pods = [pod("db-0", 5430), pod("db-1", 5431)];
    let pods = Objects {
        by_name: pods.into_iter().map(|pod| (pod.reference.clone(), pod)).collect(),
        findings: Vec::new(),
    };
    let yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432, targetPort: sql}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 1}]}\n";
    let parsed = parse_documents("t.yaml", yaml, "default");
    let input = Input { objects: &parsed.objects, pods: &pods, states: &BTreeMap::new() };
    World::of(
        1,
        Arc::new(MeshSettings::default()),
        input,
        &mut AddressBook::in_memory(AddressRanges::default()),
    )
}

fn hello(pod: &str, account: &str) -> ProxyHello {
    let node = weft_proto::xds::core::Node {
        id: format!("sidecar~10.0.0.1~{pod}.default~default.svc.cluster.local"),
        ..Default::default()
    };
    let identity = format!("spiffe://cluster.local/ns/default/sa/{account}").parse().unwrap();
    ProxyHello::read(Some(node), Some(identity), None).unwrap()
}

#[test]
fn pods_of_a_stateful_set_have_names_below_their_own_service_only() {
    let names = configuration(&database(), &scope(None)).names;
    let of = |name: &str| names.get(name).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(of("db-1.db.default.svc.cluster.local"), Some(vec!["10.0.0.1".to_owned()]));
    assert_eq!(of("db-1.other.default.svc.cluster.local"), None);
    assert_eq!(of("db.default.svc.cluster.local").map(|all| all.len()), Some(2));
}

#[test]
fn a_port_is_found_by_the_name_that_each_pod_has_for_it() {
    let compiler = WorldCompiler::new(Arc::new(ArcSwap::from_pointee(database())));
    for (pod, port) in [("db-0", 5430), ("db-1", 5431)] {
        let scope = compiler.scope(&hello(pod, "db")).unwrap();
        let clusters = configuration(&database(), &scope).clusters;
        let name = format!("inbound|{port}||");
        assert!(clusters.iter().any(|cluster| *cluster.name == *name), "{pod}");
    }
    let sets = crate::compile::endpoints(&database(), &scope(None).outbound(&database()));
    let ports: Vec<u16> = sets
        .iter()
        .filter(|set| set.cluster.contains("|5432|"))
        .flat_map(|set| &set.localities)
        .flat_map(|place| &place.endpoints)
        .map(|endpoint| endpoint.address.port())
        .collect();
    assert_eq!(ports, [5430, 5431]);
}

#[test]
fn a_sidecar_gets_the_configuration_of_a_pod_only_with_that_pods_service_account() {
    let compiler = WorldCompiler::new(Arc::new(ArcSwap::from_pointee(database())));
    let refused = compiler.scope(&hello("db-0", "somebody")).unwrap_err().to_string();
    assert!(refused.contains("`db-0`") && refused.contains("sa/somebody"), "{refused}");
    assert_eq!(compiler.scope(&hello("db-0", "db")).unwrap().labels["app"], "db".into());
    // A pod that is not known yet is taken at its word; its namespace and service account are proved all the same.
    assert!(compiler.scope(&hello("db-2", "somebody")).is_ok());
}
