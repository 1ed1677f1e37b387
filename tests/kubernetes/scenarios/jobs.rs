//! What a sidecar must not get in the way of: the beginning and the end of pods.

use serde_json::{Value, json};
use weft_tests::cluster::{App, Namespace};
use weft_tests::load::Summary;

/// Pains 3 and 4: a Job ends though its sidecar does not, and an init container is in the mesh.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_3_and_4_a_job_ends_and_its_init_container_calls_the_mesh() {
    let space = Namespace::injected("job");
    space.start(&App::new("server").http(8080));
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    // Only members of the mesh are answered, so both containers must be.
    let call = ["load", "http://server:8080/", "--count", "5"];
    let init = json!([{
        "name": "first",
        "image": "localhost/weft-test-app:1",
        "imagePullPolicy": "IfNotPresent",
        "args": call,
    }]);
    let template = App::new("job").command(&call).pod(json!({"initContainers": init})).pod_template("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"template": template, "backoffLimit": 0},
    });
    space.apply(&job.to_string());
    space.kubectl(&["wait", "--for=condition=Complete", "job/job", "--timeout=90s"]);
    let names = space.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=job",
        "-o",
        "jsonpath={.items[0].spec.initContainers[*].name}",
    ]);
    assert_eq!(names, "weft-init weft-proxy first");
    for container in ["first", "app"] {
        let log = space.kubectl(&["logs", "job/job", "-c", container, "--tail=1"]);
        let summary: Summary = serde_json::from_str(&log).expect(&log);
        summary.assert_no_failure();
    }
}

/// Pains 1 and 2: the application's first and last request go through the sidecar.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_1_and_2_the_first_and_the_last_request_of_a_pod_succeed() {
    first_and_last_request("ends", json!({}), "100").await;
}

/// As on a cluster that is too old for native sidecars: there the sidecar is told to end with the application, and has its
/// drain time of five seconds for what the application still says.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_1_and_2_also_with_an_ordinary_container_as_sidecar() {
    first_and_last_request("ordinary", json!({"sidecar.istio.io/nativeSidecar": "false"}), "40").await;
}

async fn first_and_last_request(scenario: &str, annotations: Value, last_words: &str) {
    let space = Namespace::injected(scenario);
    let metadata = json!({"annotations": annotations});
    space.start(&App::new("server").http(8080).replicas(2).metadata(metadata.clone()));
    // It calls from its first moment on, and after it was told to end.
    let calls = "http://server:8080/";
    let stop = json!({"exec": {"command": ["/weft-test-app", "load", calls, "--count", last_words, "--pause", "30"]}});
    let app = App::new("caller")
        .command(&["load", calls, "--pause", "5"])
        .container(json!({"lifecycle": {"preStop": stop}}))
        .metadata(metadata);
    space.start(&app);
    let caller = space.pod("app=caller");
    // What it calls is replaced meanwhile.
    space.kubectl(&["rollout", "restart", "deployment/server"]);
    space.await_rollout("deployment/server");
    let follow = std::thread::spawn({
        let (namespace, name) = (space.name().to_owned(), caller.name().to_owned());
        // Follows the log until the container has ended.
        move || weft_tests::cluster::try_kubectl(&["-n", &namespace, "logs", "-f", &name, "-c", "app"])
    });
    weft_tests::wait::eventually("it calls", async || {
        let log = space.try_kubectl(&["logs", caller.name(), "-c", "app", "--tail=1"])?;
        if log.contains("\"200\"") { Ok(()) } else { Err(log) }
    })
    .await;
    space.kubectl(&["delete", "pod", caller.name(), "--wait=true", "--timeout=60s"]);
    let log = follow.join().unwrap().expect("the log");
    let last: Summary = serde_json::from_str(log.lines().last().unwrap()).expect(&log);
    last.assert_no_failure();
}
