use super::*;
use crate::source::parse_documents;

fn warnings(text: &str) -> Vec<String> {
    let parsed = parse_documents("f.yaml", text, "default");
    assert!(!parsed.has_errors(), "{:#?}", parsed.findings);
    let findings = review(&parsed.objects, "cluster.local");
    let mut reversed = parsed.objects.clone();
    reversed.reverse();
    assert_eq!(review(&reversed, "cluster.local"), findings, "the order of the objects does not matter");
    assert!(findings.iter().all(|finding| !finding.is_error() && finding.line > 0), "{findings:?}");
    findings
        .iter()
        .map(|finding| format!("{} {}: {}; {}", finding.line, finding.field, finding.message, finding.hint))
        .collect()
}

const SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {selector: {app: reviews}, ports: [{port: 80, targetPort: 8080}]}\n";

#[test]
fn references_to_what_is_not_there_are_warnings_with_a_place() {
    let text = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [reviews, nobody]
  http:
  - route:
    - {{destination: {{host: reviews, subset: v9}}, weight: 1}}
    - {{destination: {{host: reviewz, port: {{number: 81}}}}, weight: 1}}
    - {{destination: {{host: reviews.default, subset: v1, port: {{number: 81}}}}, weight: 1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: dr}}
spec: {{host: reviews, subsets: [{{name: v1}}], trafficPolicy: {{portLevelSettings: [{{port: {{number: 9}}}}]}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: lost}}
spec: {{host: rewiews}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: reviews, port: 81}}, {{group: \"\", kind: Service, name: gone}}]
  rules: [{{backendRefs: [{{name: reviews, port: 80}}, {{name: reviews, port: 82}}, {{name: gone, port: 1}}]}}]
"
    );
    insta::assert_snapshot!(warnings(&text).join("\n"));
}

#[test]
fn rules_that_nothing_reaches_and_objects_that_claim_the_same_are_named() {
    let text = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec:
  hosts: [reviews]
  http:
  - {{match: [{{uri: {{prefix: /x}}}}], route: [{{destination: {{host: reviews}}}}]}}
  - {{match: [{{uri: {{prefix: /x}}}}], route: [{{destination: {{host: reviews}}}}]}}
  - {{route: [{{destination: {{host: reviews}}}}]}}
  - {{match: [{{uri: {{prefix: /y}}}}], route: [{{destination: {{host: reviews}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: b}}
spec: {{hosts: [reviews.default.svc.cluster.local], http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: one}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: reviews}}]
  rules: [{{backendRefs: [{{name: reviews, port: 80, weight: 0}}]}}, {{}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: two}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: reviews, port: 80}}]
  rules: [{{backendRefs: [{{name: reviews, port: 80}}]}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: pa}}
spec: {{selector: {{matchLabels: {{app: reviews}}}}, portLevelMtls: {{80: {{mode: DISABLE}}, 8080: {{mode: STRICT}}}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: x}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: y}}
spec: {{mtls: {{mode: STRICT}}}}
"
    );
    insta::assert_snapshot!(warnings(&text).join("\n"));
}

#[test]
fn what_fits_together_has_no_warnings() {
    let text = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: out}}
spec: {{hosts: [\"*.example.com\"], ports: [{{number: 443, name: tls}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [reviews]
  http:
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: reviews, subset: v2}}}}]
  - route: [{{destination: {{host: api.example.com}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: dr}}
spec: {{host: \"*.default.svc.cluster.local\", subsets: [{{name: v2}}]}}
"
    );
    assert_eq!(warnings(&text), Vec::<String>::new());
}

#[test]
fn headless_services_that_share_workloads_and_a_port_are_named() {
    let service = |name: &str, selector: &str, target: u16| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: None, selector: {selector}, ports: [{{name: tcp, port: 1, targetPort: {target}}}]}}
"
        )
    };
    let db = service("db", "{app: db}", 5432);
    let found = warnings(&(db.clone() + &service("primary", "{app: db, role: primary}", 5432)));
    assert!(found.len() == 1 && found[0].contains("Service/default/db has workloads"), "{found:#?}");
    assert!(found[0].contains("spec.ports[0]"), "{found:#?}");
    for other in [service("primary", "{app: db}", 5433), service("cache", "{app: cache}", 5432)] {
        assert_eq!(warnings(&(db.clone() + &other)), Vec::<String>::new());
    }
}

#[test]
fn full_names_end_in_the_domain_of_the_mesh() {
    let text = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [reviews.default.svc.corp.example]
  http:
  - route:
    - {{destination: {{host: reviews.default.svc.corp.example}}}}
"
    );
    let objects = parse_documents("f.yaml", &text, "default").objects;
    assert_eq!(review(&objects, "corp.example"), []);
    assert!(review(&objects, "cluster.local").iter().any(|finding| finding.field.contains("destination")));
}
