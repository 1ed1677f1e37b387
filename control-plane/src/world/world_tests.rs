use super::*;
use crate::source::kinds::peer_authentication::MtlsMode;
use crate::source::parse_documents;
use crate::source::words::Labels;

fn world(yaml: &str) -> World {
    let parsed = parse_documents("t.yaml", yaml, "default");
    assert!(parsed.findings.is_empty(), "{:?}", parsed.findings);
    let mut book = AddressBook::in_memory(AddressRanges::default());
    World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), &mut book)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080, targetPort: web}]}
";

#[test]
fn a_service_is_answered_by_workloads_with_its_labels_at_their_own_port() {
    let world = world(&format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: one}}
spec: {{address: 10.0.0.1, ports: {{web: 8000}}, labels: {{app: reviews, version: v1, security.istio.io/tlsMode: istio}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: other}}
spec: {{address: 10.0.0.2, labels: {{app: ratings}}}}
"
    ));
    let service = &world.services["reviews.default.svc.cluster.local"];
    let workloads: Vec<_> = world.workloads_of(service).collect();
    assert_eq!(workloads.len(), 1);
    assert!(workloads[0].mutual_tls);
    assert_eq!(workloads[0].port("http", &service.ports[0].target), Some(8000));
    assert_eq!(&*workloads[0].info(&world.mesh).version, "v1");
    assert_eq!(world.services_of("default", &labels(&[("app", "reviews")])).count(), 1);
    assert_eq!(world.services_of("elsewhere", &labels(&[("app", "reviews")])).count(), 0);
}

fn authentication(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn the_narrowest_peer_authentication_decides() {
    let world = world(
        &[
            authentication("istio-system", "mesh", "{mtls: {mode: STRICT}}"),
            authentication("default", "namespace", "{mtls: {mode: UNSET}}"),
            authentication("open", "namespace", "{mtls: {mode: PERMISSIVE}}"),
            authentication("open", "workload", "{selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}, portLevelMtls: {8080: {mode: STRICT}}}"),
        ]
        .concat(),
    );
    let mode =
        |namespace, app, port| world.policies.mtls_mode(namespace, &labels(&[("app", app)]), port).mode;
    assert_eq!(mode("default", "a", 80), MtlsMode::Strict);
    assert_eq!(mode("open", "b", 80), MtlsMode::Permissive);
    assert_eq!(mode("open", "a", 80), MtlsMode::Disable);
    assert_eq!(mode("open", "a", 8080), MtlsMode::Strict);
}

#[test]
fn without_policy_both_are_accepted() {
    assert_eq!(world(SERVICE).policies.mtls_mode("default", &Labels::new(), 80).mode, MtlsMode::Permissive);
}

#[test]
fn a_destination_rule_is_looked_for_at_the_client_then_the_service_then_the_root() {
    let rule = |namespace: &str, host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r-{namespace}, namespace: {namespace}}}\nspec: {{host: \"{host}\"}}\n"
        )
    };
    let host = "reviews.default.svc.cluster.local";
    let world = world(
        &[rule("client", host), rule("default", "reviews"), rule("istio-system", "*.svc.cluster.local")]
            .concat(),
    );
    let of = |namespace: &str, host: &str| {
        let rules = world.policies.destination_rules(host, "default", namespace, &Labels::new());
        rules.iter().map(|(object, _)| object.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of("client", host), ["r-client"]);
    assert_eq!(of("stranger", host), ["r-default"]);
    assert_eq!(of("stranger", "ratings.default.svc.cluster.local"), ["r-istio-system"]);
}

#[test]
fn only_states_change_in_the_endpoints_lane() {
    let world = world(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: one}\nspec: {address: 10.0.0.1}\n",
    );
    let key: WorkloadKey = ("default".into(), "one".into());
    let states = WorkloadStates::from([(key.clone(), Health::Draining)]);
    let next = world.with_states(2, &states);
    assert_eq!(next.workloads[&key].health, Health::Draining);
    assert_eq!(world.workloads[&key].health, Health::Healthy);
    assert_eq!(next.revision, 2);
}
