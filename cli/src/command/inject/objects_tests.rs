use serde_json::Value;
use weft_control_plane::inject::{InjectionValues, Injector, Request, Scope, STATUS_ANNOTATION};
use weft_control_plane::source::Finding;
use weft_control_plane::source::document::{json::to_json, split::parts, yaml};

use super::{Action, File};

const SHOP: &str = "\
# The shop, by hand.
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  ports:   [ {port: 9080} ]   # odd layout stays
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: reviews
  namespace: shop
spec:
  replicas: 2   # two of them
  selector: {matchLabels: {app: reviews}}
  template:
    metadata:
      labels:
        app: reviews
    spec:
      initContainers:
      # Before everything.
      - name: migrate
        image: shop/migrate:1
      containers:
      - name: reviews   # the application
        image: shop/reviews:1
        ports:
        - containerPort: 9080
          name: http
        readinessProbe:
          # Must answer soon.
          httpGet: {path: /ready, port: http}
          periodSeconds: 2
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: report
spec:
  schedule: '0 4 * * *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: report, image: shop/report}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: settings
- apiVersion: apps/v1
  kind: StatefulSet
  metadata:
    name: db
  spec:
    volumeClaimTemplates:
    - metadata:
        name: data
    template:
      spec:
        containers:
        - name: db
          image: shop/db
          volumeMounts:
          - name: data
            mountPath: /data
# Done.
";

fn injector() -> Injector {
    Injector::new(InjectionValues::default()).unwrap()
}

fn change(text: &str, action: Action<'_>) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let text = File { name: "shop.yaml", text }.change(action, &mut findings);
    (text, findings)
}

fn documents(text: &str) -> Vec<Value> {
    parts(text).iter().map(|part| to_json(&yaml::parse(part.text).0.unwrap())).collect()
}

#[test]
fn every_pod_of_a_file_gets_its_sidecar_and_the_rest_stays() {
    let injector = injector();
    let (text, findings) = change(SHOP, Action::Inject(&injector));
    assert_eq!(findings, []);
    for kept in [
        "# The shop, by hand.\n",
        "  ports:   [ {port: 9080} ]   # odd layout stays\n---\n",
        "  replicas: 2   # two of them\n",
        "      # Before everything.\n      - name: migrate\n",
        "      - name: reviews   # the application\n",
        "          # Must answer soon.\n",
        "# Done.\n",
    ] {
        assert!(text.contains(kept), "{kept} is not in\n{text}");
    }
    let all = documents(&text);
    let pods = [
        &all[1]["spec"]["template"],
        &all[2]["spec"]["jobTemplate"]["spec"]["template"],
        &all[3]["items"][1]["spec"]["template"],
    ];
    for (pod, workload) in pods.into_iter().zip(["reviews", "report", "db"]) {
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "weft-init");
        let sidecar = &pod["spec"]["initContainers"][1];
        assert_eq!(sidecar["name"], "weft-proxy");
        let named = sidecar["env"].as_array().unwrap().iter().find(|v| v["name"] == "WEFT_WORKLOAD_NAME").unwrap();
        assert_eq!(named["value"], workload);
    }
    assert_eq!(pods[0]["spec"]["initContainers"][2]["name"], "migrate");
    assert_eq!(documents(SHOP)[0], all[0]);
    assert_eq!(documents(SHOP)[3]["items"][0], all[3]["items"][0]);
}

#[test]
fn twice_is_once_and_removal_leads_back() {
    let injector = injector();
    let (once, _) = change(SHOP, Action::Inject(&injector));
    let (twice, findings) = change(&once, Action::Inject(&injector));
    assert_eq!(twice, once);
    assert_eq!(findings, []);
    let (back, _) = change(&once, Action::Remove);
    assert_eq!(documents(&back), documents(SHOP));
    assert!(back.contains("# Before everything.") && back.contains("# two of them"), "{back}");
    assert_eq!(change(SHOP, Action::Remove).0, SHOP);
}

#[test]
fn a_file_and_the_webhook_make_the_same_pod() {
    let injector = injector();
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: shop\n  labels:\n    app: a\nspec:\n  \
                containers:\n  - name: a\n    image: a:1\n    livenessProbe:\n      tcpSocket: {port: 80}\n";
    let pod = documents(text).remove(0);
    let scope = Scope::Namespace { name: "shop", labels: None };
    let weft_control_plane::inject::Outcome::Injected(webhook) =
        injector.inject(&Request { scope, pod: &pod, workload: None, claims: &[] })
    else {
        panic!("not injected")
    };
    assert_eq!(documents(&change(text, Action::Inject(&injector)).0).remove(0), webhook.pod);
}

#[test]
fn mistakes_have_their_place_in_the_file() {
    let text = SHOP.replace(
        "      labels:\n        app: reviews\n",
        "      labels:\n        app: reviews\n      annotations:\n        sidecar.istio.io/proxyCPU: much\n        \
         traffic.sidecar.istio.io/excludeOutboundPorts: \"x\"\n",
    );
    let text = format!("{text}---\na: [\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: empty\n");
    let injector = injector();
    let (_, findings) = change(&text, Action::Inject(&injector));
    let told: Vec<_> = findings.iter().map(|f| (f.line, f.column, f.field.as_str(), f.code)).collect();
    let annotation = |key: &str| format!("spec.template.metadata.annotations[\"{key}\"]");
    assert_eq!(told[0].0, 21);
    assert_eq!(told[0].2, annotation("sidecar.istio.io/proxyCPU"));
    assert_eq!((told[1].0, told[1].3), (22, "invalid-value"));
    assert_eq!(told[2].3, "yaml-syntax");
    assert_eq!(told[3].3, "missing-field");
    assert_eq!(findings[0].object.as_ref().unwrap().to_string(), "Deployment/shop/reviews");
    assert!(findings[0].excerpt.contains("proxyCPU"), "{}", findings[0].excerpt);
}

#[test]
fn a_pod_that_declines_is_told_and_left_alone() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {sidecar.istio.io/inject: 'false'}\nspec:\n  containers: []\n";
    let injector = injector();
    let (same, findings) = change(text, Action::Inject(&injector));
    assert_eq!(same, text);
    assert_eq!(findings.len(), 1);
    assert!(!findings[0].is_error() && findings[0].message.contains("declines"), "{findings:?}");
}

#[test]
fn other_kinds_of_the_same_name_are_not_ours() {
    let text = "apiVersion: example.org/v1\nkind: Job\nmetadata:\n  name: a\nspec:\n  template: {}\n";
    let injector = injector();
    assert_eq!(change(text, Action::Inject(&injector)), (text.to_owned(), Vec::new()));
    assert!(!text.contains(STATUS_ANNOTATION));
}
