//! Which pods are injected, and what those are told that are not.

use serde_json::{Value, json};
use weft_tests::cluster::{App, Namespace, weft, weft_with};

const PROXY: &str = "weft-proxy";

fn containers(pod: &Value, list: &str) -> Vec<String> {
    let names = pod["spec"][list].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str());
    names.map(str::to_owned).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn labels_and_annotations_decide() {
    let on = Namespace::injected("labels");
    let off = Namespace::labelled("plain", &[]);
    let refuses =
        App::new("refuses").http(8080).metadata(json!({"labels": {"sidecar.istio.io/inject": "false"}}));
    let wants = App::new("wants").http(8080).metadata(json!({"labels": {"sidecar.istio.io/inject": "true"}}));
    on.start(&App::new("plain").http(8080));
    on.start(&refuses);
    off.start(&wants);
    off.start(&App::new("plain").http(8080));
    for (space, name, injected) in
        [(&on, "plain", true), (&on, "refuses", false), (&off, "wants", true), (&off, "plain", false)]
    {
        let pod = space.pod(&format!("app={name}")).object();
        assert_eq!(containers(&pod, "initContainers").contains(&PROXY.to_owned()), injected, "{name}: {pod}");
    }
    // All of them talk to each other: with and without a sidecar.
    for from in [on.pod("app=plain"), on.pod("app=refuses"), off.pod("app=wants"), off.pod("app=plain")] {
        for (to, space) in [("plain", &on), ("refuses", &on), ("wants", &off)] {
            from.until(&format!("http://{to}.{}:8080/", space.name()), &[], 200).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn a_pod_of_the_hosts_network_is_left_alone_with_a_reason() {
    let space = Namespace::injected("host");
    space.start(&App::new("agent").http(18080).pod(json!({"hostNetwork": true})));
    let pod = space.pod("app=agent").object();
    assert_eq!(containers(&pod, "containers"), ["app"]);
    let status = pod["metadata"]["annotations"]["weft.mesh/status"].as_str().expect("a reason");
    assert!(status.contains("hostNetwork"), "{status}");
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn annotations_set_the_sidecar_up_and_mistakes_are_refused() {
    let space = Namespace::injected("settings");
    let annotations = json!({"annotations": {
        "sidecar.istio.io/proxyCPU": "20m",
        "sidecar.istio.io/proxyMemory": "48Mi",
        "sidecar.istio.io/logLevel": "debug",
        "traffic.sidecar.istio.io/excludeInboundPorts": "9000",
    }});
    space.start(&App::new("server").http(8080).echo(9000).metadata(annotations));
    let pod = space.pod("app=server").object();
    let proxy =
        pod["spec"]["initContainers"].as_array().unwrap().iter().find(|it| it["name"] == PROXY).unwrap();
    assert_eq!(proxy["resources"]["requests"], json!({"cpu": "20m", "memory": "48Mi"}));
    assert_eq!(proxy["restartPolicy"], "Always");

    // A port that is left out is reached in plain text also under STRICT.
    space.apply("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default}, spec: {mtls: {mode: STRICT}}}");
    let outside = Namespace::labelled("settings-outside", &[]);
    let outsider = outside.client();
    weft_tests::wait::eventually("strict holds", async || {
        let answer = outsider.call(&format!("http://server.{}:8080/", space.name()), &[]);
        if answer["status"] == 0 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let echo =
        outsider.run(&["exchange", &format!("server.{}:9000", space.name()), "hello"]).expect("an answer");
    assert!(echo.contains("hello"), "{echo}");

    let wrong = json!({"annotations": {"sidecar.istio.io/proxyCPU": "lots", "traffic.sidecar.istio.io/excludeInboundPorts": "http"}});
    let mut pod = App::new("wrong").http(8080).metadata(wrong).pod_template("Always");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("wrong");
    let why = space.try_apply(&pod.to_string()).expect_err("refused");
    for part in ["sidecar.istio.io/proxyCPU", "traffic.sidecar.istio.io/excludeInboundPorts"] {
        assert!(why.contains(part), "both mistakes at once: {why}");
    }
}

/// Pain 19.
#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn pain_19_pods_that_missed_injection_are_found() {
    // They run already when the namespace gets its label.
    let space = Namespace::labelled("missed", &[]);
    space.start(&App::new("server").http(8080));
    weft_tests::cluster::kubectl(&["label", "namespace", space.name(), "istio-injection=enabled"]);
    let (_, out, err) = weft(&["check"]);
    let pod = space.pod("app=server");
    assert!(format!("{out}{err}").contains(pod.name()), "{out}{err}");
}

const SERVER: &str = "\
# A server and its service.
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata:
      labels: {app: server}
    spec:
      containers:
      # The program itself.
      - name: app
        image: localhost/weft-test-app:1
        args: [serve, --http, '8080']
        ports: [{name: http, containerPort: 8080}]
        readinessProbe:
          httpGet: {path: /, port: http}
";

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn the_command_line_injects_as_the_webhook_does() {
    let by_webhook = Namespace::injected("webhook");
    let by_hand = Namespace::labelled("gitops", &[]);
    by_webhook.apply(SERVER);
    by_webhook.await_rollout("deployment/server");
    let (code, injected, err) = weft_with(SERVER, &["inject", "-f", "-"]);
    assert_eq!(code, 0, "{err}");
    let (service, _) = SERVER.split_once("\n---\n").unwrap();
    assert!(injected.starts_with(service), "what is not injected stays to the letter: {injected}");
    assert!(injected.contains("# The program itself."), "{injected}");
    let (_, again, _) = weft_with(&injected, &["inject", "-f", "-"]);
    assert_eq!(again, injected, "what is injected is left as it is");
    by_hand.apply(&injected);
    by_hand.await_rollout("deployment/server");
    let same = |pod: &Value| {
        let list = pod["spec"]["initContainers"].as_array().unwrap().clone();
        list.into_iter()
            .map(|it| {
                (it["name"].clone(), it["args"].clone(), it["image"].clone(), it["securityContext"].clone())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(same(&by_hand.pod("app=server").object()), same(&by_webhook.pod("app=server").object()));
    by_hand.client().until("http://server:8080/", &[], 200).await;
}
