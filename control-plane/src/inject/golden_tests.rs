//! What injection makes of pods, written down whole. A plain pod is shown as it comes out; of the others what has
//! changed.

use serde_json::Value;

use super::diff::diff;
use super::{InjectionValues, Injector, Outcome, Request, STATUS_ANNOTATION, Scope, restore};
use crate::source::document::json::to_json;
use crate::source::document::yaml;

fn document(text: &str) -> Value {
    let (node, errors) = yaml::parse(text);
    assert!(errors.is_empty(), "{errors:?}");
    to_json(&node.unwrap())
}

fn outcome(values: &str, pod: &Value) -> Outcome {
    let injector = Injector::new(InjectionValues::parse("values.yaml", values).unwrap()).unwrap();
    injector.inject(&Request { scope: Scope::File { namespace: "shop" }, pod, workload: None, claims: &[] })
}

fn injected(values: &str, pod: &Value) -> Value {
    match outcome(values, pod) {
        Outcome::Injected(injected) => injected.pod,
        other => panic!("{other:#?}"),
    }
}

/// What has changed, the annotation's way back aside, which is the same once more.
fn changes(values: &str, text: &str) -> String {
    let pod = document(text);
    let mut after = injected(values, &pod);
    assert_eq!(restore(&after).unwrap(), pod);
    assert_eq!(injected(values, &after), after, "twice is once");
    hide_status(&mut after);
    format!("{:#}", diff(&pod, &after).unwrap())
}

/// The hash of the template changes with each version, and the way back is tested by itself.
fn hide_status(pod: &mut Value) {
    let annotation = &mut pod["metadata"]["annotations"][STATUS_ANNOTATION];
    let mut status: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    let status = status.as_object_mut().unwrap();
    assert!(status.shift_remove("original").is_some() && status.shift_remove("template").is_some());
    *annotation = Value::Object(status.clone());
    // Images carry the version.
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            if let Some(image) =
                container["image"].as_str().and_then(|image| image.strip_suffix(env!("CARGO_PKG_VERSION")))
            {
                container["image"] = format!("{image}VERSION").into();
            }
        }
    }
}

const PLAIN: &str = "
metadata:
  name: reviews
  labels: {app: reviews, version: v2}
spec:
  serviceAccountName: reviews
  containers:
  - name: reviews
    image: shop/reviews:2
    ports:
    - {name: http, containerPort: 8080}
";

#[test]
fn a_plain_pod() {
    let mut pod = injected("", &document(PLAIN));
    hide_status(&mut pod);
    insta::assert_snapshot!(format!("{pod:#}"));
}

#[test]
fn init_containers_and_probes() {
    insta::assert_snapshot!(changes(
        "",
        "
metadata:
  generateName: web-6b7c9d8f4-
  labels: {app.kubernetes.io/name: shop-web, pod-template-hash: 6b7c9d8f4}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-6b7c9d8f4, uid: u, controller: true}]
spec:
  initContainers:
  - {name: migrate, image: 'shop/migrate:1'}
  containers:
  - name: web
    image: shop/web:1
    ports: [{name: http, containerPort: 8080}, {name: grpc, containerPort: 9090}]
    livenessProbe: {httpGet: {path: /live, port: http}, periodSeconds: 5}
    readinessProbe: {grpc: {port: 9090}, timeoutSeconds: 2}
    startupProbe: {tcpSocket: {port: http}}
    lifecycle: {preStop: {httpGet: {path: /bye, port: http}}}
"
    ));
}

#[test]
fn a_job_of_a_cron_job() {
    insta::assert_snapshot!(changes(
        "",
        "
metadata:
  generateName: report-29000000-
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: report-29000000, uid: u, controller: true}]
spec:
  restartPolicy: Never
  containers: [{name: report, image: 'shop/report:1', command: [report]}]
"
    ));
}

#[test]
fn every_annotation() {
    insta::assert_snapshot!(changes(
        "",
        r#"
metadata:
  name: tuned
  annotations:
    sidecar.istio.io/proxyImage: example.org/weft-proxy:9
    sidecar.istio.io/proxyCPU: 200m
    sidecar.istio.io/proxyCPULimit: 1500m
    sidecar.istio.io/proxyMemory: 100Mi
    sidecar.istio.io/proxyMemoryLimit: 200Mi
    sidecar.istio.io/logLevel: debug
    sidecar.istio.io/interceptionMode: REDIRECT
    sidecar.istio.io/rewriteAppHTTPProbers: "false"
    sidecar.istio.io/userVolume: '{"certs": {"secret": {"secretName": "certs"}}}'
    sidecar.istio.io/userVolumeMount: '{"certs": {"mountPath": "/etc/certs", "readOnly": true}}'
    traffic.sidecar.istio.io/includeInboundPorts: 8080,8081
    traffic.sidecar.istio.io/excludeInboundPorts: "9000"
    traffic.sidecar.istio.io/includeOutboundPorts: "443"
    traffic.sidecar.istio.io/excludeOutboundPorts: 3306, 5432
    traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.0/8,fd00::/8
    traffic.sidecar.istio.io/excludeOutboundIPRanges: 169.254.169.254
    traffic.sidecar.istio.io/excludeInterfaces: eth1
    weft.mesh/excludeOutboundUIDs: "65534"
    weft.mesh/excludeOutboundGIDs: "65534"
    prometheus.io/scrape: "true"
    prometheus.io/port: "9000"
    proxy.istio.io/config: |
      terminationDrainDuration: 30s
      holdApplicationUntilProxyStarts: false
      proxyMetadata: {FEATURE: "on"}
      tracing: {sampling: 50}
spec:
  containers:
  - name: app
    image: app:1
    livenessProbe: {httpGet: {path: /, port: 8080}}
"#
    ));
}

#[test]
fn a_users_own_sidecar_container_customises_ours() {
    insta::assert_snapshot!(changes(
        "",
        "
metadata: {name: own}
spec:
  containers:
  - name: istio-proxy
    image: auto
    resources: {limits: {memory: 2Gi}}
    env: [{name: WEFT_LOG, value: trace}]
    volumeMounts: [{name: cache, mountPath: /cache}]
  - {name: app, image: 'app:1'}
  volumes: [{name: cache, emptyDir: {}}]
"
    ));
}

#[test]
fn a_classic_container_and_the_cni_plugin() {
    let values = "proxy: {native: false}\ninterception: {cni: true, dns: false, excludeOutboundPorts: '25'}\n\
                  image: {registry: example.org/mesh, tag: 'sha256:00', pullSecrets: [fetch]}\nprometheus: false\n";
    insta::assert_snapshot!(changes(values, PLAIN));
}

#[test]
fn a_custom_template() {
    let values = "
templates:
  debug:
    metadata:
      labels: {debug: 'true'}
    spec:
      initContainers:
      - name: weft-proxy
        env: [{name: WEFT_LOG, value: debug}]
        readinessProbe: null
      containers:
      - {name: tools, image: 'tools:1', volumeMounts: [{name: weft-state, mountPath: /weft, readOnly: true}]}
      securityContext: {fsGroup: 1337}
";
    let text = PLAIN.replace(
        "  name: reviews\n  labels",
        "  name: reviews\n  annotations: {inject.istio.io/templates: 'sidecar, debug'}\n  labels",
    );
    insta::assert_snapshot!(changes(values, &text));
}

#[test]
fn a_template_that_makes_an_invalid_pod_is_refused_and_the_former_stays() {
    let injector = Injector::new(InjectionValues::default()).unwrap();
    let before = injector.configuration();
    let findings = injector
        .update(
            "templates:\n  twice:\n    spec:\n      containers: [{name: app, image: a, livenessProbe: {exec: {}, grpc: {}}}]\n  \
             misspelt:\n    spec:\n      containers: [{name: weft-x, image: a, imagePullPolice: Always}]\n  \
             odd:\n    status: {}\n    spec: {$patch: remove}\n",
        )
        .unwrap_err();
    let fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(fields, ["templates.odd.status", "templates.odd.spec.$patch"], "{findings:#?}");
    let findings = injector
        .update(
            "templates:\n  twice:\n    spec:\n      containers: [{name: app, livenessProbe: {tcpSocket: {port: 1}}}]\n  \
             misspelt:\n    spec:\n      containers: [{name: weft-x, image: a, imagePullPolice: Always}]\n  \
             mount:\n    spec:\n      containers: [{name: app, volumeMounts: [{name: none, mountPath: /x}]}]\n",
        )
        .unwrap_err();
    let mut fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
    fields.dedup();
    assert_eq!(fields, ["templates.misspelt", "templates.mount"], "{findings:#?}");
    assert_eq!(injector.configuration(), before);
    injector.update("mesh: other").unwrap();
    assert_ne!(injector.configuration(), before);
}

#[test]
fn what_would_undo_the_mesh_is_refused() {
    let pod = document(
        "
metadata: {name: a}
spec:
  securityContext: {runAsUser: 1337}
  containers:
  - {name: a, image: a, securityContext: {runAsUser: 1337}}
",
    );
    let Outcome::Refused(findings) = outcome("", &pod) else { panic!("not refused") };
    let fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(fields, ["spec.securityContext.runAsUser", "spec.containers[0].securityContext.runAsUser"]);
    let taken = document(
        "{metadata: {name: a}, spec: {volumes: [{name: weft-state, emptyDir: {}}], containers: [{name: a, image: a}]}}",
    );
    let Outcome::Refused(findings) = outcome("", &taken) else { panic!("not refused") };
    assert!(findings[0].message.contains("two volumes `weft-state`"), "{findings:#?}");
}

#[test]
fn what_was_added_later_stays_when_the_sidecar_goes() {
    let pod = document(PLAIN);
    let mut after = injected("", &pod);
    after["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now".into();
    after["spec"]["containers"].as_array_mut().unwrap().push(document("{name: late, image: late}"));
    let back = restore(&after).unwrap();
    assert_eq!(back["metadata"]["annotations"], document("{kubectl.kubernetes.io/restartedAt: now}"));
    assert_eq!(back["spec"]["containers"][1]["name"], "late");
    assert_eq!(back["spec"].get("initContainers"), None);
}

#[test]
fn a_skipped_pod_says_why_to_the_webhook_only() {
    let pod = document("{metadata: {name: a}, spec: {hostNetwork: true, containers: [{name: a, image: a}]}}");
    let Outcome::Skipped { annotated: None, .. } = outcome("", &pod) else { panic!("a file stays as it is") };
    let injector = Injector::new(InjectionValues::default()).unwrap();
    let scope = Scope::Namespace { name: "shop", labels: None };
    let Outcome::Skipped { annotated: Some(annotated), reason } =
        injector.inject(&Request { scope, pod: &pod, workload: None, claims: &[] })
    else {
        panic!("not annotated")
    };
    assert_eq!(reason.word(), "HostNetwork");
    let status: Value =
        serde_json::from_str(annotated["metadata"]["annotations"][STATUS_ANNOTATION].as_str().unwrap())
            .unwrap();
    assert_eq!(status["skipped"], "HostNetwork");
    assert_eq!(restore(&annotated).unwrap(), pod);
}
