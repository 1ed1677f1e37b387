//! Compiled policy is tested by simulated calls: the matcher that runs in the proxy says where a request would go.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_model::cluster::{Discovery, LoadBalancing, UpstreamTransport};
use weft_model::endpoint::Health;
use weft_model::listener::{ConnectionFacts, NetworkFilter, Transport};
use weft_model::matcher::RequestFacts;
use weft_model::policy::RetryConditions;
use weft_model::route::{Forward, Route, RouteAction};

use super::*;
use crate::source::parse_documents;
use crate::source::words::Labels;
use crate::world::{AddressBook, AddressRanges, MeshSettings};

/// A mesh with two services, three versions of one of them, and the policies under test.
struct Mesh(World);

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: mysql}
spec: {clusterIP: 10.96.0.2, selector: {app: mysql}, ports: [{name: tcp-mysql, port: 3306}, {name: any, port: 7000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 10.0.0.2, labels: {app: reviews, version: v2}}
---
";

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
";

impl Mesh {
    fn new(policies: &str) -> Self {
        let parsed = parse_documents("t.yaml", &format!("{SERVICES}{policies}"), "default");
        let errors: Vec<_> = parsed.findings.iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let mut book = AddressBook::in_memory(AddressRanges::default());
        Self(World::build(1, Arc::new(MeshSettings::default()), &parsed.objects, &BTreeMap::new(), &mut book))
    }

    fn scope(namespace: &str, labels: &[(&str, &str)]) -> ProxyScope {
        let labels: Labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
        ProxyScope {
            namespace: namespace.into(),
            labels,
            app_ports: Vec::new(),
            named_ports: BTreeMap::new(),
            node: None,
            mode: Mode::Intercept,
        }
    }

    /// The route that a client in `namespace` would take.
    fn call(&self, namespace: &str, path: &str, headers: &[(&'static str, &str)]) -> Option<Route> {
        let compiled = configuration(&self.0, &Self::scope(namespace, &[("app", "client")]));
        let table =
            compiled.routes.iter().find(|t| &*t.name == "reviews.default.svc.cluster.local:9080").unwrap();
        let headers: HeaderMap = headers
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap()))
            .collect();
        let facts = RequestFacts {
            method: "GET",
            scheme: "http",
            authority: "reviews:9080",
            path_and_query: path,
            headers: &headers,
            random: 0,
        };
        table.route(&facts).cloned()
    }

    fn forward(&self, namespace: &str, path: &str, headers: &[(&'static str, &str)]) -> Forward {
        match self.call(namespace, path, headers).unwrap().action {
            RouteAction::Forward(forward) => forward,
            other => panic!("{other:?}"),
        }
    }
}

fn shares(forward: &Forward) -> Vec<(String, u32)> {
    forward.clusters.iter().map(|c| (c.cluster.split('|').nth(2).unwrap().to_owned(), c.weight)).collect()
}

#[test]
fn without_policy_everything_goes_to_the_service_with_safe_retries() {
    let forward = Mesh::new("").forward("default", "/", &[]);
    assert_eq!(&*forward.clusters[0].cluster, "outbound|9080||reviews.default.svc.cluster.local");
    let retry = forward.retry.unwrap();
    assert!(retry.idempotent_only && retry.retries == 2);
}

#[test]
fn a_virtual_service_splits_by_weight_and_routes_a_user_by_header() {
    let mesh = Mesh::new(&format!(
        "{SUBSETS}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - match: [{{headers: {{x-user: {{exact: tester}}}}}}]
    route: [{{destination: {{host: reviews, subset: v2}}}}]
  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: 90}}
    - {{destination: {{host: reviews, subset: v2}}, weight: 10}}
    retries: {{attempts: 3, retryOn: \"5xx,429\"}}
    timeout: 2s
"
    ));
    assert_eq!(shares(&mesh.forward("default", "/", &[("x-user", "tester")])), [("v2".to_owned(), 1)]);
    let rest = mesh.forward("default", "/", &[]);
    assert_eq!(shares(&rest), [("v1".to_owned(), 90), ("v2".to_owned(), 10)]);
    assert_eq!(rest.timeout, Some(std::time::Duration::from_secs(2)));
    let retry = rest.retry.unwrap();
    assert!(retry.conditions.contains(RetryConditions::SERVER_ERROR.and(RetryConditions::STATUS_CODES)));
    assert_eq!((&*retry.status_codes, retry.idempotent_only), (&[429][..], false));
    let route = mesh.call("default", "/", &[("x-user", "tester")]).unwrap();
    assert_eq!(route.provenance[0].to_string(), "VirtualService/default/reviews@0 spec.http[0].match[0]");
}

#[test]
fn a_match_on_the_client_holds_for_that_client_only() {
    let mesh = Mesh::new(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http:
  - name: other
    match: [{sourceNamespace: other}, {sourceLabels: {app: nobody}}, {port: 1}]
    directResponse: {status: 418}
  - name: rest
    route: [{destination: {host: reviews}}]
",
    );
    assert_eq!(&*mesh.call("other", "/", &[]).unwrap().name, "other");
    assert_eq!(&*mesh.call("default", "/", &[]).unwrap().name, "rest");
}

#[test]
fn gateway_routes_win_over_a_virtual_service_and_the_most_specific_match_wins() {
    let mesh = Mesh::new(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{name: istio, route: [{destination: {host: reviews}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: '', kind: Service, name: reviews}]
  rules:
  - backendRefs: [{name: reviews, port: 9080}]
    name: any
  - name: header
    matches: [{headers: [{name: x-user, value: tester}]}]
    backendRefs: [{name: reviews, port: 9080}]
  - name: prefix
    matches: [{path: {value: /reviews}}]
    backendRefs: [{name: reviews, port: 9080}]
  - name: exact
    matches: [{path: {type: Exact, value: /reviews/7}}]
    backendRefs: [{name: gone, port: 80, weight: 1}]
    timeouts: {request: 10s, backendRequest: 2s}
",
    );
    let name = |path: &str, headers: &[(&'static str, &str)]| {
        mesh.call("default", path, headers).unwrap().name.to_string()
    };
    assert_eq!(name("/", &[]), "any");
    assert_eq!(name("/", &[("x-user", "tester")]), "header");
    assert_eq!(name("/reviews/8", &[("x-user", "tester")]), "prefix");
    assert_eq!(name("/reviewsbook", &[]), "any");
    assert_eq!(name("/reviews/7", &[]), "exact");
    let exact = mesh.forward("default", "/reviews/7", &[]);
    assert_eq!(&*exact.clusters[0].cluster, "outbound|80||gone.default.svc.cluster.local");
    assert_eq!(exact.retry.unwrap().per_try_timeout, Some(std::time::Duration::from_secs(2)));
}

#[test]
fn a_consumer_route_takes_the_place_of_the_producers_for_its_own_namespace() {
    let mesh = Mesh::new(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: producer}
spec: {parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{name: producer, backendRefs: [{name: reviews, port: 9080}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: consumer, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: reviews, namespace: default}], rules: [{name: consumer, backendRefs: [{name: reviews, namespace: default, port: 9080}]}]}
",
    );
    assert_eq!(&*mesh.call("shop", "/", &[]).unwrap().name, "consumer");
    assert_eq!(&*mesh.call("default", "/", &[]).unwrap().name, "producer");
    assert_eq!(&*mesh.call("third", "/", &[]).unwrap().name, "producer");
}

#[test]
fn subsets_become_clusters_with_their_own_policy_and_endpoints() {
    let mesh = Mesh::new(SUBSETS);
    let scope = Mesh::scope("default", &[]);
    let compiled = configuration(&mesh.0, &scope);
    let cluster = |subset: &str| {
        let name = format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
        compiled.clusters.iter().find(|c| *c.name == name).unwrap()
    };
    assert_eq!(cluster("").load_balancing, LoadBalancing::RoundRobin);
    assert_eq!(cluster("v1").load_balancing, LoadBalancing::RoundRobin);
    assert_eq!(cluster("v2").load_balancing, LoadBalancing::Random);
    assert!(matches!(cluster("v1").transport, UpstreamTransport::ByEndpoint(_)));
    let sets = endpoints(&mesh.0, &scope.outbound(&mesh.0));
    let addresses = |subset: &str| {
        let name = format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
        let set = sets.iter().find(|set| *set.cluster == name).unwrap();
        set.endpoints().map(|e| (e.address.to_string(), e.mutual_tls)).collect::<Vec<_>>()
    };
    assert_eq!(addresses(""), [("10.0.0.1:9080".to_owned(), true), ("10.0.0.2:9080".to_owned(), false)]);
    assert_eq!(addresses("v2"), [("10.0.0.2:9080".to_owned(), false)]);
}

#[test]
fn a_workload_that_takes_plain_text_only_is_offered_nothing_else() {
    let policy = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: off}\nspec: {selector: {matchLabels: {version: v1}}, mtls: {mode: DISABLE}}\n";
    let mesh = Mesh::new(policy);
    let sets = endpoints(&mesh.0, &Mesh::scope("default", &[]).outbound(&mesh.0));
    assert!(sets.iter().flat_map(EndpointSet::endpoints).all(|endpoint| !endpoint.mutual_tls));
}

#[test]
fn a_declared_protocol_is_never_sniffed() {
    let compiled = configuration(&Mesh::new("").0, &Mesh::scope("default", &[]));
    let listener = |name: &str| compiled.listeners.iter().find(|l| &*l.name == name).unwrap();
    assert!(!listener("10.96.0.1_9080").inspection.http);
    assert!(matches!(
        listener("10.96.0.2_3306").default_filter_chain.as_ref().unwrap().filter,
        NetworkFilter::Tcp(_)
    ));
    assert!(!listener("10.96.0.2_3306").inspection.http);
    let undeclared = listener("10.96.0.2_7000");
    assert!(undeclared.inspection.http && undeclared.filter_chains.len() == 1);
}

/// Which chain of the inbound listener takes a connection; none when it is refused.
fn inbound(policies: &str, transport: Transport, protocols: &[&str], port: u16) -> Option<String> {
    let mesh = Mesh::new(policies);
    let compiled = configuration(&mesh.0, &Mesh::scope("default", &[("app", "reviews"), ("version", "v1")]));
    let listener = compiled.listeners.iter().find(|l| &*l.name == "virtualInbound").unwrap();
    let facts = ConnectionFacts {
        destination: ([10, 0, 0, 1], port).into(),
        transport,
        application_protocols: protocols,
        server_name: None,
    };
    listener.serving_chain(&facts).map(|chain| chain.name.to_string())
}

#[test]
fn permissive_takes_both_and_strict_refuses_plain_text() {
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}\n";
    let disable = strict.replace("STRICT", "DISABLE");
    for (policies, plain, mutual) in [
        ("", Some("inbound_9080_http"), Some("inbound_9080_mtls_http")),
        (strict, None, Some("inbound_9080_mtls_http")),
        (&disable, Some("inbound_9080_http"), Some("inbound_9080_mtls_http")),
    ] {
        assert_eq!(inbound(policies, Transport::Raw, &["http/1.1"], 9080).as_deref(), plain);
        assert_eq!(inbound(policies, Transport::Tls, &["istio-http/1.1", "istio"], 9080).as_deref(), mutual);
    }
    assert_eq!(
        inbound(strict, Transport::Raw, &[], 12345),
        None,
        "ports that no service names are strict too"
    );
    assert_eq!(inbound("", Transport::Raw, &[], 12345).as_deref(), Some("virtualInbound-catchall"));
}

#[test]
fn while_a_change_of_authentication_is_told_nobody_calls_in_a_way_that_is_refused() {
    let policy = |mode: &str| {
        let mode = format!("{{mtls: {{mode: {mode}}}}}");
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {mode}\n"
        )
    };
    // Whether clients call in plain text, and whether the server takes it.
    let told = |mode: &str, superseded: &[&str]| {
        let mut world = Mesh::new(&policy(mode)).0;
        world.superseded = superseded.iter().map(|mode| Arc::new(Mesh::new(&policy(mode)).0)).collect();
        let sets = endpoints(&world, &Mesh::scope("default", &[]).outbound(&world));
        let plain = sets.iter().flat_map(EndpointSet::endpoints).all(|endpoint| !endpoint.mutual_tls);
        let compiled =
            configuration(&world, &Mesh::scope("default", &[("app", "reviews"), ("version", "v1")]));
        let listener = compiled.listeners.iter().find(|l| &*l.name == "virtualInbound").unwrap();
        (plain, listener.filter_chains.iter().any(|chain| &*chain.name == "inbound_9080_http"))
    };
    assert_eq!(told("STRICT", &["DISABLE"]), (false, true), "clients first, then the server");
    assert_eq!(told("STRICT", &[]), (false, false));
    assert_eq!(told("DISABLE", &["STRICT"]), (false, true), "the server first, then clients");
    assert_eq!(told("DISABLE", &[]), (true, true));
    let modes = ["DISABLE", "PERMISSIVE", "STRICT"];
    for first in modes {
        for second in modes {
            for third in modes {
                let (former, latter) = (told(second, &[first]), told(third, &[first, second]));
                for (client, server) in [(former, latter), (latter, former), (told(first, &[]), former)] {
                    assert!(!client.0 || server.1, "{first}, {second}, {third}");
                }
            }
        }
    }
}

#[test]
fn an_explicit_proxy_gets_one_table_of_all_services_by_name() {
    let mesh = Mesh::new("");
    let explicit = ExplicitAddresses {
        outbound: Some("127.0.0.1:4000".parse().unwrap()),
        inbound: BTreeMap::from([(9080, "127.0.0.1:4001".parse().unwrap())]),
    };
    let scope =
        ProxyScope { mode: Mode::Explicit(explicit), ..Mesh::scope("default", &[("app", "reviews")]) };
    let compiled = configuration(&mesh.0, &scope);
    let names: Vec<&str> = compiled.listeners.iter().map(|l| &*l.name).collect();
    assert_eq!(names, ["explicit-outbound", "inbound_127.0.0.1:4001"]);
    let table = &compiled.routes[0];
    for authority in ["reviews:9080", "reviews.default:9080", "reviews.default.svc.cluster.local:9080"] {
        assert!(table.virtual_host(authority).is_some(), "{authority}");
    }
    assert!(table.virtual_host("reviews:9081").is_none());
}

#[test]
fn nothing_dangles_but_what_the_user_left_dangling() {
    let mesh = Mesh::new(SUBSETS);
    let compiled = configuration(&mesh.0, &Mesh::scope("default", &[("app", "reviews")]));
    let mut snapshot = weft_model::snapshot::Snapshot::default();
    snapshot.listeners = compiled.listeners.into_iter().map(|l| (l.name.clone(), Arc::new(l))).collect();
    snapshot.routes = compiled.routes.into_iter().map(|r| (r.name.clone(), Arc::new(r))).collect();
    snapshot.clusters = compiled.clusters.into_iter().map(|c| (c.name.clone(), Arc::new(c))).collect();
    assert_eq!(snapshot.dangling(), Vec::<String>::new());
}

#[test]
fn a_service_outside_the_mesh_is_resolved_by_name_and_called_in_plain_text() {
    let mesh = Mesh::new(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
",
    );
    let compiled = configuration(&mesh.0, &Mesh::scope("default", &[]));
    let cluster = compiled.clusters.iter().find(|c| &*c.name == "outbound|80||api.example.com").unwrap();
    assert_eq!(cluster.discovery, Discovery::Dns(vec![("api.example.com".into(), 80)]));
    assert_eq!(cluster.transport, UpstreamTransport::Plain);
    assert!(compiled.names.contains_key("api.example.com"));
}

#[test]
fn proxies_that_no_policy_tells_apart_are_of_one_class() {
    let mesh = Mesh::new("");
    let a = Mesh::scope("default", &[("app", "a")]).outbound(&mesh.0);
    let b = Mesh::scope("default", &[("app", "b")]).outbound(&mesh.0);
    assert_eq!(a, b);
}

const HEADLESS: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp-db, port: 5432, targetPort: 15432}]}
---
apiVersion: v1
kind: Service
metadata: {name: cache}
spec: {clusterIP: None, selector: {app: cache}, ports: [{name: tcp-cache, port: 5432, targetPort: 15432}]}
---
apiVersion: v1
kind: Service
metadata: {name: db-again}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp-db, port: 15432}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-0}
spec: {address: 10.0.1.1, serviceAccount: db, labels: {app: db, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-1}
spec: {address: 10.0.1.2, serviceAccount: other, labels: {app: db, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cache-0}
spec: {address: 10.0.2.1, labels: {app: cache}}
---
";

#[test]
fn headless_services_of_one_port_are_told_apart_by_the_addresses_of_their_workloads() {
    let compiled = configuration(&Mesh::new(HEADLESS).0, &Mesh::scope("default", &[]));
    let listeners = |host: &str| -> Vec<String> {
        let own = compiled.listeners.iter().filter(|it| it.name.starts_with(host));
        own.flat_map(|it| it.addresses.iter().map(ToString::to_string)).collect()
    };
    assert_eq!(
        listeners("db.default"),
        Vec::<String>::new(),
        "the first of two that share workloads has them"
    );
    assert_eq!(listeners("db-again.default"), ["10.0.1.1:15432", "10.0.1.2:15432"]);
    assert_eq!(listeners("cache.default"), ["10.0.2.1:15432"]);
    assert!(compiled.listeners.iter().filter(|it| it.headless).count() == 2);
    let cluster = |name: &str| compiled.clusters.iter().find(|it| &*it.name == name).unwrap();
    let db = cluster("outbound|15432||db-again.default.svc.cluster.local");
    assert_eq!(db.discovery, Discovery::Dialled(db.name.clone()));
    let UpstreamTransport::MutualTls(tls) = &db.transport else { panic!("every workload has a sidecar") };
    let account = |name: &str| Arc::<str>::from(format!("spiffe://cluster.local/ns/default/sa/{name}"));
    assert_eq!(*tls.identities, [account("db"), account("other")]);
    let partly = configuration(
        &Mesh::new(&HEADLESS.replace("serviceAccount: other, ", "")).0,
        &Mesh::scope("default", &[]),
    );
    let partly = partly.clusters.iter().find(|it| it.name == db.name).unwrap();
    let UpstreamTransport::MutualTls(tls) = &partly.transport else { panic!("{partly:?}") };
    assert!(tls.identities.is_empty(), "one may have any identity");
    let cache = cluster("outbound|5432||cache.default.svc.cluster.local");
    assert!(matches!(cache.transport, UpstreamTransport::ByEndpoint(_)), "not every one has");
    let names: Vec<(&str, usize)> =
        compiled.names.iter().filter(|it| it.0.contains("db.")).map(|it| (&**it.0, it.1.len())).collect();
    assert_eq!(
        names,
        [
            ("db-0.db.default.svc.cluster.local", 1),
            ("db-1.db.default.svc.cluster.local", 1),
            ("db.default.svc.cluster.local", 2)
        ]
    );
}

#[test]
fn whether_a_workload_of_a_headless_service_is_ready_is_a_matter_of_endpoints_alone() {
    let (mesh, scope) = (Mesh::new(HEADLESS).0, Mesh::scope("default", &[]));
    let unready = BTreeMap::from([(("default".into(), "db-0".into()), Health::Unhealthy)]);
    let later = mesh.with_states(2, &unready);
    let (before, after) = (configuration(&mesh, &scope), configuration(&later, &scope));
    assert_eq!(before.listeners, after.listeners);
    assert_eq!(before.clusters, after.clusters);
    assert_eq!(before.names, after.names);
    let health = |world: &World| -> Vec<Health> {
        let sets = endpoints(world, &scope.outbound(world));
        let set = sets.iter().find(|it| it.cluster.starts_with("outbound|5432||db.default")).unwrap();
        set.endpoints().map(|it| it.health).collect()
    };
    assert_eq!(health(&mesh), [Health::Healthy, Health::Healthy]);
    assert_eq!(health(&later), [Health::Unhealthy, Health::Healthy], "it is still called by its own name");
    let published =
        Mesh::new(&HEADLESS.replace("clusterIP: None,", "clusterIP: None, publishNotReadyAddresses: true,"));
    assert_eq!(health(&published.0.with_states(2, &unready)), [Health::Healthy, Health::Healthy]);
}

#[test]
fn hosts_of_one_address_are_told_apart_by_the_name_that_is_asked_for() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [b.example, a.example], \
                 addresses: [10.99.0.1], resolution: DNS, ports: [{number: 80, name: http}, {number: 5432, name: tcp}]}\n";
    let compiled = configuration(&Mesh::new(entry).0, &Mesh::scope("default", &[]));
    let at: Vec<&str> =
        compiled.listeners.iter().map(|it| &*it.name).filter(|it| it.starts_with("10.99")).collect();
    assert_eq!(at, ["10.99.0.1_5432", "10.99.0.1_80"]);
    let table = compiled.routes.iter().find(|it| &*it.name == "a.example:80").unwrap();
    let hosts: Vec<(&str, &str)> =
        table.virtual_hosts.iter().map(|it| (&*it.name, &*it.domains[0])).collect();
    assert_eq!(hosts, [("a.example:80", "*"), ("b.example:80", "b.example:80")]);
    assert!(!compiled.routes.iter().any(|it| &*it.name == "b.example:80"));
}

#[test]
fn a_consumer_route_for_one_port_leaves_the_producers_for_another() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: two}
spec: {clusterIP: 10.96.0.9, selector: {app: two}, ports: [{name: one, port: 80}, {name: two, port: 81}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: producer}
spec: {parentRefs: [{group: '', kind: Service, name: two, port: 81}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: consumer, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: two, namespace: default, port: 80}], rules: [{backendRefs: [{name: two, namespace: default, port: 81}]}]}
";
    let compiled = configuration(&Mesh::new(yaml).0, &Mesh::scope("shop", &[]));
    let by = |port: u16| {
        let name = format!("two.default.svc.cluster.local:{port}");
        let table = compiled.routes.iter().find(|it| *it.name == *name).unwrap();
        table.virtual_hosts[0].routes[0].provenance[0].object.name.clone()
    };
    assert_eq!((&*by(80), &*by(81)), ("consumer", "producer"));
}
