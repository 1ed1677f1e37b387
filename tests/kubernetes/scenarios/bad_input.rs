//! What bad input gets.

use serde_json::{Value, json};
use weft_tests::cluster::{App, Forward, Namespace, PODS, SYSTEM, kubectl, weft};
use weft_tests::wait::eventually;

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_kubeconfig_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let cases = [
        ("not: [yaml", "config"),
        (
            "{apiVersion: v1, kind: Config, clusters: [], users: [], contexts: [], current-context: away}",
            "away",
        ),
        (
            "{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: x}}], \
             contexts: [{name: far, context: {cluster: c, user: u}}], current-context: far}",
            "https://127.0.0.1:1",
        ),
    ];
    for (text, word) in cases {
        std::fs::write(&path, text).unwrap();
        let (code, out, err) = weft(&["--kubeconfig", &path.display().to_string(), "stat"]);
        assert_ne!(code, 0, "{out}");
        assert!(err.contains(word), "{word}: {err}");
    }
    let (code, _, err) = weft(&["--context", "nowhere", "stat"]);
    assert_ne!(code, 0);
    assert!(err.contains("nowhere"), "{err}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_malformed_review_is_denied_clearly() {
    let webhook = Forward::to(SYSTEM, "deployment/weft-control-plane", 15017);
    let url = format!("https://127.0.0.1:{}/inject", webhook.port());
    let post = |body: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, body).unwrap();
        let body = format!("@{}", file.path().display());
        let headers = ["-H", "content-type: application/json", "-H", "expect:"];
        let output = std::process::Command::new("curl")
            .args(["-sk", "-w", "\n%{http_code}", &url, "--data-binary", &body])
            .args(headers)
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for body in
        ["{}", "not json", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#]
    {
        let said = post(body.as_bytes());
        assert!(said.contains("AdmissionReview"), "{body}: {said}");
        assert!(said.ends_with("400"), "{body}: {said}");
    }
    let said = post(&vec![b' '; 4 << 20]);
    assert!(said.ends_with("413"), "{said}");
    // And it goes on.
    let space = Namespace::injected("review");
    space.start(&App::new("server").http(8080));
    let pod = space.pod("app=server").object();
    assert!(pod["spec"]["initContainers"].is_array());
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_template_that_yields_an_invalid_pod_is_refused_and_the_former_stays() {
    let space = Namespace::injected("template");
    let current = || -> Value {
        serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "configmap", "weft-injection", "-o", "json"]))
            .unwrap()
    };
    let before = current();
    let mut broken = before.clone();
    broken["data"]["values"] = json!(format!(
        "{}\ntemplates:\n  twice:\n    spec:\n      containers:\n      - {{name: extra, image: 7}}\n",
        before["data"]["values"].as_str().unwrap()
    ));
    for field in ["resourceVersion", "managedFields", "uid", "creationTimestamp"] {
        broken["metadata"].as_object_mut().unwrap().remove(field);
    }
    let back = json!({"data": {"values": before["data"]["values"]}}).to_string();
    kubectl(&[
        "-n",
        SYSTEM,
        "patch",
        "configmap",
        "weft-injection",
        "--type=merge",
        "-p",
        &json!({"data": broken["data"]}).to_string(),
    ]);
    let said = eventually("the refusal is told", async || {
        let log = kubectl(&["-n", SYSTEM, "logs", "-l", PODS, "--tail=200"]);
        if log.contains("twice") { Ok(log) } else { Err("not in the log".to_owned()) }
    });
    said.await;
    eventually("the refusal is an event of the settings", async || {
        let events =
            ["-n", SYSTEM, "get", "events", "--field-selector", "involvedObject.name=weft-injection"];
        let events = kubectl(&events);
        if events.contains("SettingsRefused") && events.contains("twice") { Ok(()) } else { Err(events) }
    })
    .await;
    space.start(&App::new("server").http(8080));
    let pod = space.pod("app=server").object();
    kubectl(&["-n", SYSTEM, "patch", "configmap", "weft-injection", "--type=merge", "-p", &back]);
    assert!(pod["spec"]["initContainers"].is_array(), "{pod}");
}
