use super::*;
use crate::source::parse_documents;
use crate::telemetry::PlainCaller;
use crate::world::{AddressBook, AddressRanges, MeshSettings};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{port: 9080, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.250.0.2, labels: {app: reviews, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: shop}
spec: {address: 10.250.0.3, labels: {app: shop, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: legacy}
spec: {address: 10.250.0.4, labels: {app: legacy}}
---
";

fn policy(mode: &str, more: &str) -> String {
    format!(
        "{MESH}apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {{mtls: {{mode: {mode}}}{more}}}\n"
    )
}

fn world(text: &str) -> World {
    let parsed = parse_documents("p.yaml", text, "default");
    assert!(!parsed.has_errors(), "{:#?}", parsed.findings);
    let mut book = AddressBook::in_memory(AddressRanges::default());
    World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &Default::default(), &mut book)
}

fn calls(address: &str, count: u64, ago: u64) -> PlainCalls {
    let caller = PlainCaller {
        namespace: "default".into(),
        workload: "reviews-v1".into(),
        service: "reviews.default.svc.cluster.local".into(),
        port: 9080,
        protocol: "http".into(),
        address: address.parse().ok(),
    };
    PlainCalls { caller, count, ago: Duration::from_secs(ago) }
}

fn found(calls: &[PlainCalls], before: &str, after: &str) -> Vec<(String, String, u32)> {
    let findings = review(calls, &world(before), &world(after).policies);
    findings.into_iter().map(|it| (it.message, it.hint, it.line)).collect()
}

#[test]
fn a_policy_that_becomes_strict_names_who_called_in_plain_text() {
    let seen = [calls("10.250.0.4", 2, 90), calls("192.0.2.9", 40, 3)];
    let [(message, hint, line)] = &found(&seen, MESH, &policy("STRICT", ""))[..] else { panic!() };
    assert_eq!(
        message,
        "reviews.default received 42 plain-text requests in the last 10 minutes, the last 3 s ago, \
         from 192.0.2.9, 10.250.0.4 (legacy.default); they will be refused"
    );
    assert!(hint.contains("weft stat --plaintext"), "{hint}");
    let text = policy("STRICT", "");
    let place = text.lines().position(|line| line.contains("mtls:")).map(|at| at as u32 + 1);
    assert_eq!(Some(*line), place, "it points at the field that decides");
    let many: Vec<_> = (1..9).map(|n| calls(&format!("192.0.2.{n}"), 1, 0)).collect();
    assert!(found(&many, MESH, &policy("STRICT", ""))[0].0.contains(", 3 more;"));
}

#[test]
fn what_stays_as_it_is_or_gets_easier_is_not_spoken_of() {
    let seen = [calls("192.0.2.9", 40, 3)];
    for (before, after) in [
        (MESH.to_owned(), MESH.to_owned()),
        (MESH.to_owned(), policy("DISABLE", "")),
        (policy("STRICT", ""), policy("STRICT", "")),
        (MESH.to_owned(), policy("STRICT", ", selector: {matchLabels: {app: other}}")),
        (
            MESH.to_owned(),
            policy(
                "STRICT",
                ", selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: PERMISSIVE}}",
            ),
        ),
    ] {
        assert_eq!(found(&seen, &before, &after), [], "{after}");
    }
}

#[test]
fn a_sidecar_that_calls_in_plain_text_because_it_was_told_to_is_not_named() {
    let seen = [calls("10.250.0.3", 5, 1)];
    assert_eq!(found(&seen, &policy("DISABLE", ""), &policy("STRICT", "")), []);
    // It was not told to: it calls by address, or a destination rule makes it.
    let [(message, hint, _)] = &found(&seen, MESH, &policy("STRICT", ""))[..] else { panic!() };
    assert!(message.contains("10.250.0.3 (shop.default)"), "{message}");
    assert!(hint.starts_with("shop has a sidecar"), "{hint}");
}
