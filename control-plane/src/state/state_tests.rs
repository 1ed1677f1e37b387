use weft_model::endpoint::Health;
use weft_proto::api::{RegisterWorkloadRequest, WorkloadPort};

use super::*;
use crate::source::parse_documents;

fn open(directory: &Path) -> Arc<MeshState> {
    let networks = WorkloadNetworks {
        v4: "10.250.0.0/16".parse().unwrap(),
        v6: Some("fd00:7766::/64".parse().unwrap()),
    };
    MeshState::open(directory, MeshSettings::default(), networks, &[]).unwrap()
}

fn objects(yaml: &str) -> Vec<Arc<Object>> {
    parse_documents("t.yaml", yaml, "default").objects
}

fn reviews() -> RegisterWorkloadRequest {
    let ports = vec![WorkloadPort { port: 9080, name: "http".into(), ..Default::default() }];
    RegisterWorkloadRequest { service: "reviews".into(), version: "v1".into(), ports, ..Default::default() }
}

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80}]}\n";

#[tokio::test]
async fn what_was_applied_is_there_after_a_restart_at_the_same_address() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let applied = state.apply(&objects(SERVICE), false).await.unwrap();
    assert_eq!(applied.revision, 2);
    let before = state.world().load().services["a.default.svc.cluster.local"].addresses.clone();
    drop(state);
    let again = open(directory.path());
    assert_eq!(again.world().load().services["a.default.svc.cluster.local"].addresses, before);
}

#[tokio::test]
async fn a_dry_run_and_an_unchanged_object_make_no_revision() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    assert_eq!(state.apply(&objects(SERVICE), true).await.unwrap().revision, 1);
    assert!(state.objects().by_name.is_empty());
    assert_eq!(state.apply(&objects(SERVICE), false).await.unwrap().revision, 2);
    assert_eq!(state.apply(&objects(SERVICE), false).await.unwrap().revision, 2);
}

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: STRICT}}\n";

#[tokio::test]
async fn a_change_of_authentication_has_a_second_step_that_forgets_what_was_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let superseded = || state.world().load().superseded.len();
    state.apply(&objects(SERVICE), false).await.unwrap();
    assert!(superseded() == 0 && state.steps().borrow().are_done(2), "no other change has one");

    let strict = state.apply(&objects(STRICT), false).await.unwrap().revision;
    let disabled = state.apply(&objects(&STRICT.replace("STRICT", "DISABLE")), false).await.unwrap().revision;
    assert_eq!((strict, disabled, superseded()), (3, 4, 2));
    let steps = *state.steps().borrow();
    assert!(steps.are_done(2) && !steps.are_done(strict) && !steps.are_done(disabled));
    // The state of a workload is another lane.
    state.register(&reviews()).await.unwrap();
    state.report("default", "reviews-v1", Health::Healthy).await.unwrap();
    assert_eq!(superseded(), 2);

    state.complete(strict).await;
    let steps = *state.steps().borrow();
    assert!(superseded() == 1 && steps.are_done(strict) && !steps.are_done(disabled));
    state.complete(disabled).await;
    let steps = *state.steps().borrow();
    assert!(superseded() == 0 && steps.are_done(disabled));
    assert_eq!(steps.completed, state.world().load().revision);
    assert_eq!(state.revisions().borrow().configuration, steps.completed);
    // Said again, it is no change.
    state.apply(&objects(&STRICT.replace("STRICT", "DISABLE")), false).await.unwrap();
    assert_eq!(superseded(), 0);
}

#[tokio::test]
async fn a_workload_is_an_endpoint_once_it_is_ready_and_still_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let registered = state.register(&reviews()).await.unwrap();
    assert_eq!(
        (registered.name.as_str(), &registered.addresses[..]),
        ("reviews-v1", &["10.250.0.2/16".to_owned(), "fd00:7766::2/64".to_owned()][..])
    );
    let health =
        |state: &MeshState| state.world().load().workloads[&("default".into(), "reviews-v1".into())].health;
    assert_eq!(health(&state), Health::Unhealthy);
    let revisions = state.revisions();
    let configuration = revisions.borrow().configuration;
    state.report("default", "reviews-v1", Health::Healthy).await.unwrap();
    assert_eq!(health(&state), Health::Healthy);
    assert_eq!(revisions.borrow().configuration, configuration, "an endpoint change recompiles no route");
    drop(state);
    let again = open(directory.path());
    assert_eq!(health(&again), Health::Healthy);
    again.deregister("default", "reviews-v1").await.unwrap();
    assert!(again.world().load().workloads.is_empty());
    assert!(
        again.world().load().services.contains_key("reviews.default.svc.cluster.local"),
        "others may come"
    );
}

#[tokio::test]
async fn a_name_is_given_once_and_a_users_service_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let own = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {selector: {app: reviews}, ports: [{port: 1}]}\n";
    state.apply(&objects(own), false).await.unwrap();
    state.register(&reviews()).await.unwrap();
    assert_eq!(state.register(&reviews()).await.unwrap().name, "reviews-v1-2");
    let named = RegisterWorkloadRequest { name: "reviews-v1".into(), ..reviews() };
    assert!(matches!(state.register(&named).await, Err(RegistrationError::Taken(..))));
    assert_eq!(state.world().load().services["reviews.default.svc.cluster.local"].ports[0].number, 1);
}

#[tokio::test]
async fn a_reference_to_nothing_is_accepted_with_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [gone], http: [{route: [{destination: {host: gone}}]}]}\n";
    let applied = state.apply(&objects(yaml), false).await.unwrap();
    assert!(!applied.findings.is_empty());
    assert_eq!(*state.findings(), applied.findings);
}

#[tokio::test]
async fn a_service_has_the_ports_of_all_its_workloads() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    state.register(&reviews()).await.unwrap();
    let ports = vec![WorkloadPort { port: 7000, ..Default::default() }];
    state.register(&RegisterWorkloadRequest { ports, ..reviews() }).await.unwrap();
    let world = state.world().load_full();
    let ports = &world.services["reviews.default.svc.cluster.local"].ports;
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [7000, 9080]);
}

#[tokio::test]
async fn a_vanishing_identity_has_a_second_step_and_a_new_one_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let state = open(directory.path());
    let superseded = || state.world().load().superseded.len();
    let workload = |account: &str| {
        let labels = "{app: reviews, security.istio.io/tlsMode: istio}";
        objects(&format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w}}\nspec: {{address: 10.0.0.1, serviceAccount: {account}, labels: {labels}}}\n"
        ))
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {selector: {app: reviews}, ports: [{port: 1}]}\n";
    state.apply(&objects(service), false).await.unwrap();
    state.apply(&workload("one"), false).await.unwrap();
    assert_eq!(superseded(), 0);
    let changed = state.apply(&workload("two"), false).await.unwrap().revision;
    assert_eq!(superseded(), 1);
    assert!(!state.steps().borrow().are_done(changed));
    state.complete(changed).await;
    assert!(superseded() == 0 && state.steps().borrow().are_done(changed));
}

/// A source as the API server is one, told by the test what it holds.
struct Told(tokio::sync::watch::Receiver<Arc<Objects>>, tokio::sync::watch::Receiver<Arc<Objects>>);

impl Source for Told {
    fn origin(&self) -> Origin {
        Origin::Kubernetes
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<Arc<Objects>> {
        self.0.clone()
    }

    fn pods(&self) -> Option<tokio::sync::watch::Receiver<Arc<Objects>>> {
        Some(self.1.clone())
    }
}

fn told(documents: &[serde_json::Value]) -> Arc<Objects> {
    let parsed = documents.iter().flat_map(|json| crate::source::parse_watched(json).objects);
    let by_name = parsed.map(|object| (object.reference.clone(), object)).collect();
    Arc::new(Objects { by_name, findings: Vec::new() })
}

#[tokio::test]
async fn pods_of_a_cluster_come_and_go_in_the_endpoints_lane_and_nothing_is_changed_here() {
    let pod = |name: &str, ready: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web", "security.istio.io/tlsMode": "istio"}},
            "spec": {"containers": []},
            "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let (_objects, objects_told) = tokio::sync::watch::channel(told(&[service]));
    let (pods, pods_told) = tokio::sync::watch::channel(told(&[pod("a", "True")]));
    let networks = WorkloadNetworks { v4: "10.250.0.0/16".parse().unwrap(), v6: None };
    let source = Told(objects_told, pods_told);
    let state = MeshState::of_sources(MeshSettings::default(), networks, &[&source]);
    let revision = || *state.revisions().borrow();
    for next in
        [told(&[pod("a", "False")]), told(&[pod("a", "True"), pod("b", "True")]), told(&[pod("b", "True")])]
    {
        let before = revision();
        pods.send_replace(next);
        state.follow_pods().await;
        assert!(revision().endpoints > before.endpoints);
        assert_eq!(revision().configuration, before.configuration);
    }
    let world = state.world().load_full();
    assert_eq!(world.workloads.keys().map(|(_, name)| &**name).collect::<Vec<_>>(), ["b"]);
    assert!(world.superseded.is_empty());
    // The last of an identity leaves: clients that still know the endpoint go on accepting it for a step.
    pods.send_replace(told(&[]));
    state.follow_pods().await;
    assert_eq!(revision().configuration, revision().number);
    assert_eq!(state.world().load().superseded.len(), 1);
    let waiting = state.steps().borrow().waiting;
    assert!(waiting.is_some());
    let refused = state.apply(&[], false).await.unwrap_err();
    assert!(matches!(refused, StateError::HeldElsewhere), "{refused}");
}
