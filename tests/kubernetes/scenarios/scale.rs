//! A large cluster: 100 Services with 50 pods each, which only pretend to run (KWOK), and a real sidecar that is told of
//! all of them. What is asserted is that everything arrives; how long it took and what it cost is printed, and the
//! figures of a release build stand in `benches/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_tests::cluster::{Forward, Namespace, PODS, SYSTEM, kubectl};

const NODES: &str = "50";
const SERVICES: usize = 100;
const PODS_EACH: usize = 50;
/// Of these all pods are replaced: 100 pods.
const ROLLED: usize = 2;
/// Nothing here takes longer, also with debug programs on two busy cores.
const PATIENCE: Duration = Duration::from_secs(600);

/// KWOK's nodes, until it is dropped.
struct FakeNodes(PathBuf);

impl FakeNodes {
    fn start(cluster: PathBuf) -> Self {
        let nodes = Self(cluster.join("kwok.sh"));
        assert!(Command::new(&nodes.0).arg(NODES).status().expect("kwok.sh").success());
        nodes
    }
}

impl Drop for FakeNodes {
    fn drop(&mut self) {
        let _ = Command::new(&self.0).arg("0").status();
    }
}

fn objects() -> Value {
    let each = |number: usize| {
        let name = format!("app-{number}");
        let template = json!({
            "metadata": {"labels": {"app": name, "security.istio.io/tlsMode": "istio"}},
            "spec": {
                "nodeSelector": {"type": "kwok"},
                "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                "containers": [{"name": "app", "image": "fake"}],
            },
        });
        [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
            }),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
                "spec": {"replicas": PODS_EACH, "selector": {"matchLabels": {"app": name}}, "template": template},
            }),
        ]
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..SERVICES).flat_map(each).collect::<Vec<_>>()})
}

/// How many pods of all deployments are ready.
fn ready_replicas(space: &Namespace) -> usize {
    let counts = space.kubectl(&["get", "deployments", "-o", "jsonpath={.items[*].status.readyReplicas}"]);
    counts.split_whitespace().filter_map(|count| count.parse::<usize>().ok()).sum()
}

/// Names and addresses of the pods with a label that are ready and stay, as the API server has them. An address is given
/// to another pod when its own has gone.
fn ready(space: &Namespace, selector: &str) -> BTreeMap<String, String> {
    let list: Value =
        serde_json::from_str(&space.kubectl(&["get", "pods", "-l", selector, "-o", "json"])).expect("JSON");
    let is_ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let pods = list["items"].as_array().into_iter().flatten().filter(is_ready);
    pods.filter_map(|pod| {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        Some((name, pod["status"]["podIP"].as_str()?.to_owned()))
    })
    .collect()
}

/// Of its administration page `/clusters`.
struct Sidecar(Forward);

impl Sidecar {
    /// Addresses that it sends requests for some of the applications to.
    fn endpoints(&self, names: &[String], namespace: &str) -> BTreeSet<String> {
        let url = format!("http://127.0.0.1:{}/clusters?format=json", self.0.port());
        let output = Command::new("curl").args(["-s", &url]).output().expect("curl");
        let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let wanted: BTreeSet<String> =
            names.iter().map(|name| format!("outbound|80||{name}.{namespace}.svc.cluster.local")).collect();
        let clusters = page["cluster_statuses"].as_array().into_iter().flatten();
        let clusters = clusters.filter(|it| it["name"].as_str().is_some_and(|name| wanted.contains(name)));
        let hosts = clusters.flat_map(|it| it["host_statuses"].as_array().into_iter().flatten());
        let healthy = hosts.filter(|it| it["health_status"]["eds_health_status"] == "HEALTHY");
        let addresses = healthy.filter_map(|it| it["address"]["socket_address"]["address"].as_str());
        addresses.map(ToOwned::to_owned).collect()
    }
}

/// Bytes that the replicas of the control plane hold, as their kubelets tell.
fn memory() -> Vec<u64> {
    let names =
        kubectl(&["-n", SYSTEM, "get", "pods", "-l", PODS, "-o", "jsonpath={.items[*].metadata.name}"]);
    let names: Vec<&str> = names.split(' ').collect();
    let nodes = kubectl(&["get", "nodes", "-l", "type!=kwok", "-o", "jsonpath={.items[*].metadata.name}"]);
    let mut all = Vec::new();
    for node in nodes.split(' ') {
        let summary = kubectl(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{node}/proxy/stats/summary?only_cpu_and_memory=true"),
        ]);
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let ours = pods.iter().filter(|pod| names.iter().any(|name| pod["podRef"]["name"] == **name));
        all.extend(ours.filter_map(|pod| pod["containers"][0]["memory"]["rssBytes"].as_u64()));
    }
    all
}

fn mib(bytes: &[u64]) -> String {
    bytes.iter().map(|bytes| format!("{} MiB", bytes >> 20)).collect::<Vec<_>>().join(", ")
}

/// Between questions about all that there is: answering them takes the machine's time, too.
const SELDOM: Duration = Duration::from_secs(2);
/// Between questions about what is about to come.
const OFTEN: Duration = Duration::from_millis(50);

/// Asks until there is an answer, and gives it with the time it took.
#[allow(clippy::disallowed_methods, reason = "between two questions, with an end")]
fn measured<T>(what: &str, pause: Duration, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return (answer, began.elapsed());
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(pause);
    }
}

#[test]
#[ignore = "needs a cluster: make test-kubernetes"]
fn a_hundred_services_of_fifty_pods() {
    let Some(cluster) = std::env::var_os("WEFT_TEST_CLUSTER") else {
        eprintln!("not on a cluster of the user's own: it would fill its API server");
        return;
    };
    let _nodes = FakeNodes::start(PathBuf::from(cluster));
    let client = Namespace::injected("scale-client");
    let pod = client.client();
    let sidecar = Sidecar(Forward::to(client.name(), &format!("pod/{}", pod.name()), 15000));
    let idle = memory();
    let space = Namespace::labelled("scale", &[]);
    let names: Vec<String> = (0..SERVICES).map(|number| format!("app-{number}")).collect();
    space.apply(&objects().to_string());
    let all = SERVICES * PODS_EACH;
    let (_, started) = measured("all pods run", SELDOM, || (ready_replicas(&space) == all).then_some(()));
    let (_, told) = measured("the sidecar knows them all", OFTEN, || {
        (sidecar.endpoints(&names, space.name()).len() == all).then_some(())
    });
    println!("{SERVICES} services, {all} pods: running after {started:.1?}, in the sidecar {told:.1?} later");
    println!("control plane: {} before, {} with them", mib(&idle), mib(&memory()));

    let rolled = &names[..ROLLED];
    let selector = format!("app in ({})", rolled.join(","));
    let before = ready(&space, &selector);
    for name in rolled {
        space.kubectl(&["rollout", "restart", &format!("deployment/{name}")]);
    }
    let (after, rollout) = measured("all pods are new", OFTEN, || {
        let now = ready(&space, &selector);
        let is_new = now.keys().all(|name| !before.contains_key(name));
        (now.len() == ROLLED * PODS_EACH && is_new).then(|| now.into_values().collect::<BTreeSet<_>>())
    });
    let (_, converged) = measured("the sidecar knows the new ones, and no old one", OFTEN, || {
        (sidecar.endpoints(rolled, space.name()) == after).then_some(())
    });
    println!(
        "a rollout of {} pods took {rollout:.1?}; the sidecar had the last of it at most {converged:.2?} after the API server told us",
        after.len()
    );
    println!("control plane: {} at the end", mib(&memory()));
}
