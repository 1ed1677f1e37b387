use std::net::SocketAddr;

use weft_model::cluster::{Cluster, Discovery};
use weft_model::endpoint::{Endpoint, EndpointSet, Health, Locality, LocalityEndpoints, WorkloadInfo};
use weft_model::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, HttpConnection, Inspection, Listener, NetworkFilter,
    RouteSource,
};
use weft_model::policy::HeaderMutations;
use weft_model::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};

use super::*;

const BOUND: Duration = Duration::from_secs(3);

fn cluster(name: &str) -> Resource {
    Resource::Cluster(Cluster::new(name, Discovery::Endpoints(name.into())).into())
}

fn cluster_of(name: &str, endpoints: &str) -> Resource {
    Resource::Cluster(Cluster::new(name, Discovery::Endpoints(endpoints.into())).into())
}

fn endpoints(name: &str, address: &str) -> Resource {
    let endpoint = Endpoint {
        address: address.parse::<SocketAddr>().unwrap(),
        health: Health::Healthy,
        weight: 1,
        mutual_tls: false,
        workload: WorkloadInfo::default(),
        ..Endpoint::new(SocketAddr::from(([0, 0, 0, 0], 0)))
    };
    let locality = LocalityEndpoints {
        locality: Locality::default(),
        priority: 0,
        weight: 1,
        endpoints: vec![endpoint.into()],
    };
    Resource::Endpoints(
        EndpointSet { cluster: name.into(), localities: vec![locality], policy: Default::default() }.into(),
    )
}

fn table(name: &str, cluster: &str) -> Resource {
    let route = Route {
        name: "all".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward::to(cluster)),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: Vec::new(),
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    Resource::Routes(RouteTable::new(name, vec![host]).into())
}

fn listener(name: &str, routes: &str) -> Resource {
    let http = HttpConnection {
        stat_prefix: name.into(),
        codec: Codec::Auto,
        routes: RouteSource::Named(routes.into()),
        forward_client_certificate: false,
        stream_idle_timeout: None,
        upgrades: Vec::new(),
        forward_proxy: false,
        filters: weft_model::filter::HttpFilter::of_the_mesh(),
    };
    let chain = FilterChain::new("default", FilterChainMatch::default(), None, NetworkFilter::Http(http));
    Resource::Listener(
        Listener {
            name: name.into(),
            addresses: vec!["10.96.0.1:80".parse().unwrap()],
            bind: false,
            use_original_dst: false,
            headless: false,
            direction: Direction::Outbound,
            inspection: Inspection::default(),
            filter_chains: vec![chain],
            default_filter_chain: None,
            provenance: Vec::new(),
        }
        .into(),
    )
}

fn delivered(resource: &Resource, version: &str) -> Delivered {
    Delivered {
        name: resource.name().to_owned(),
        version: version.to_owned(),
        resource: Some(resource.encode()),
        ..Default::default()
    }
}

fn answer(resources: &[Resource]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: resources[0].type_url().to_owned(),
        resources: resources.iter().map(|one| delivered(one, "1")).collect(),
        ..Default::default()
    }
}

fn removal(url: &str, names: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: url.to_owned(),
        removed_resources: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

/// A store, a clock that stands until it is moved, and the newest snapshot.
struct Served {
    store: Store,
    now: Instant,
    snapshot: Snapshot,
}

impl Served {
    fn new() -> Self {
        Self { store: Store::new(BOUND), now: Instant::now(), snapshot: Snapshot::default() }
    }

    /// A listener with routes to cluster `a`, all there.
    fn complete() -> Self {
        let mut served = Self::new();
        served.take(&[cluster("a")]);
        served.take(&[endpoints("a", "10.0.0.1:80")]);
        served.take(&[listener("l", "r")]);
        served.take(&[table("r", "a")]);
        assert!(served.has_listener("l") && served.store.is_complete());
        served
    }

    fn take(&mut self, resources: &[Resource]) {
        self.store.apply(&answer(resources), None).unwrap();
        self.publish();
    }

    fn remove(&mut self, url: &str, names: &[&str]) {
        self.store.apply(&removal(url, names), None).unwrap();
        self.publish();
    }

    fn publish(&mut self) -> Option<Instant> {
        let published = self.store.publish(self.now);
        if let Some(snapshot) = published.snapshot {
            self.snapshot = snapshot;
        }
        assert!(self.snapshot.listeners.values().all(|l| !l.filter_chains.is_empty()));
        published.look_again
    }

    fn has_listener(&self, name: &str) -> bool {
        self.snapshot.listeners.contains_key(name)
    }
}

#[test]
fn a_listener_is_served_once_all_it_refers_to_is_there_in_whatever_order_it_comes_after_clusters() {
    let mut parts = vec![endpoints("a", "10.0.0.1:80"), listener("l", "r"), table("r", "a")];
    // All 6 orders, by Heap's algorithm.
    fn orders(k: usize, parts: &mut Vec<Resource>, visit: &mut dyn FnMut(&[Resource])) {
        if k == 1 {
            return visit(parts);
        }
        for i in 0..k {
            orders(k - 1, parts, visit);
            parts.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    let mut seen = 0;
    orders(3, &mut parts, &mut |order| {
        let mut served = Served::new();
        served.take(&[cluster("a")]);
        for part in &order[..2] {
            served.take(std::slice::from_ref(part));
            assert!(!served.has_listener("l") && !served.store.is_complete(), "{order:?}");
        }
        served.take(&order[2..]);
        assert!(served.has_listener("l") && served.store.is_complete(), "{order:?}");
        assert_eq!(served.snapshot.dangling(), Vec::<String>::new());
        seen += 1;
    });
    assert_eq!(seen, 6);
}

#[test]
fn what_does_not_come_is_waited_for_no_longer_than_the_bound() {
    let mut served = Served::new();
    served.take(&[cluster("a")]);
    served.take(&[listener("l", "r")]);
    served.take(&[table("r", "a")]);
    assert!(!served.has_listener("l"), "the endpoints are missing");
    let due = served.publish().expect("it is looked at again");
    assert!(due <= served.now + BOUND);
    served.now += BOUND;
    served.publish();
    assert!(served.has_listener("l") && served.store.is_complete());
    // It was given up: a further change of the routes does not wait again, and nothing is to be looked at.
    served.take(&[table("r", "a"), table("s", "a")]);
    assert_eq!(served.publish(), None);
    assert!(served.snapshot.routes.contains_key("s"));
}

#[test]
fn a_cluster_that_was_not_sent_is_not_waited_for() {
    let mut served = Served::complete();
    served.take(&[table("r", "nowhere")]);
    assert_eq!(served.snapshot.dangling().len(), 1);
    assert_eq!(served.publish(), None);
}

#[test]
fn new_routes_wait_for_their_cluster_while_the_old_ones_serve() {
    let mut served = Served::complete();
    let old = served.snapshot.routes["r"].clone();
    served.take(&[cluster("b")]);
    served.take(&[table("r", "b")]);
    assert!(Arc::ptr_eq(&old, &served.snapshot.routes["r"]), "its endpoints are not there");
    served.take(&[endpoints("b", "10.0.0.2:80")]);
    assert!(!Arc::ptr_eq(&old, &served.snapshot.routes["r"]));
}

#[test]
fn a_removed_cluster_stays_with_its_endpoints_until_nothing_refers_to_it() {
    let mut served = Served::complete();
    served.remove(type_url::CLUSTER, &["a"]);
    served.store.retain(type_url::ENDPOINT, &BTreeSet::new());
    served.publish();
    let kept = served.snapshot.clusters["a"].clone();
    assert!(served.snapshot.endpoints_of(&kept).is_some());
    served.take(&[cluster("b"), cluster("c")]);
    served.take(&[endpoints("b", "10.0.0.2:80")]);
    assert!(served.snapshot.clusters.contains_key("a"));
    served.take(&[table("r", "b")]);
    assert!(!served.snapshot.clusters.contains_key("a") && !served.snapshot.endpoints.contains_key("a"));
}

#[test]
fn removed_routes_stay_while_a_listener_asks_for_them_and_go_with_it() {
    let mut served = Served::complete();
    served.remove(type_url::ROUTE, &["r"]);
    assert!(served.snapshot.routes.contains_key("r"));
    served.remove(type_url::LISTENER, &["l"]);
    assert!(!served.has_listener("l") && !served.snapshot.routes.contains_key("r"));
}

#[test]
fn a_cluster_that_moves_to_other_endpoints_keeps_the_old_ones_until_they_are_there() {
    let mut served = Served::complete();
    served.take(&[cluster_of("a", "elsewhere")]);
    served.store.retain(type_url::ENDPOINT, &["elsewhere".to_owned()].into());
    served.publish();
    let still = served.snapshot.endpoints_of(&served.snapshot.clusters["a"]).expect("it has endpoints");
    assert_eq!(&*still.cluster, "a");
    served.take(&[endpoints("elsewhere", "10.0.0.9:80")]);
    let now = served.snapshot.endpoints_of(&served.snapshot.clusters["a"]).unwrap();
    assert_eq!(&*now.cluster, "elsewhere");
    assert!(!served.snapshot.endpoints.contains_key("a"));
}

#[test]
fn a_cluster_whose_new_endpoints_never_come_is_changed_after_the_bound() {
    let mut served = Served::complete();
    served.take(&[cluster_of("a", "elsewhere")]);
    assert!(!served.store.is_complete());
    served.now += BOUND;
    served.publish();
    assert!(served.snapshot.endpoints_of(&served.snapshot.clusters["a"]).is_none());
    assert!(served.store.is_complete());
}

#[test]
fn a_change_of_endpoints_leaves_everything_else_the_same_object() {
    let mut served = Served::complete();
    served.take(&[endpoints("z", "10.0.0.7:80")]);
    let before = served.snapshot.clone();
    served.take(&[endpoints("a", "10.0.0.2:80")]);
    let after = &served.snapshot;
    assert_eq!(after.version, before.version + 1);
    assert!(!Arc::ptr_eq(&before.endpoints["a"], &after.endpoints["a"]));
    assert!(Arc::ptr_eq(&before.endpoints["z"], &after.endpoints["z"]));
    assert!(Arc::ptr_eq(&before.clusters["a"], &after.clusters["a"]));
    assert!(Arc::ptr_eq(&before.routes["r"], &after.routes["r"]));
    assert!(Arc::ptr_eq(&before.listeners["l"], &after.listeners["l"]));
}

#[test]
fn what_is_sent_again_unchanged_changes_nothing_but_its_version() {
    let mut served = Served::complete();
    let before = served.snapshot.clone();
    let mut again = answer(&[cluster("a")]);
    again.resources[0].version = "2".to_owned();
    served.store.apply(&again, None).unwrap();
    assert!(served.store.publish(served.now).snapshot.is_none());
    assert_eq!(served.store.version_of(type_url::CLUSTER, "a"), Some("2"));
    // And when something else changes, it is still the same object.
    served.take(&[cluster("b")]);
    assert!(Arc::ptr_eq(&before.clusters["a"], &served.snapshot.clusters["a"]));
}

#[test]
fn a_refused_resource_keeps_its_last_good_and_holds_up_nobody_else() {
    let mut served = Served::complete();
    let good = served.snapshot.clusters["a"].clone();
    let mut mixed = answer(&[cluster("a"), cluster("b"), cluster("c")]);
    mixed.resources[0].resource.as_mut().unwrap().value = vec![0xff; 7];
    mixed.resources[2].resource = None;
    let Err(Refused(refused)) = served.store.apply(&mixed, None) else { panic!("it was taken") };
    served.publish();
    assert_eq!(refused.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert!(Arc::ptr_eq(&good, &served.snapshot.clusters["a"]));
    assert!(served.snapshot.clusters.contains_key("b") && !served.snapshot.clusters.contains_key("c"));
}

#[test]
fn resources_are_refused_under_another_name_or_type_than_their_own() {
    let mut store = Store::new(BOUND);
    let mut renamed = answer(&[cluster("a")]);
    renamed.resources[0].name = "b".to_owned();
    let message = store.apply(&renamed, None).unwrap_err().to_string();
    assert!(message.contains("`b`") && message.contains("`a`"), "{message}");
    let mut mistyped = answer(&[cluster("a")]);
    mistyped.type_url = type_url::LISTENER.to_owned();
    assert!(store.apply(&mistyped, None).unwrap_err().to_string().contains("Listener"));
    let mut unknown = answer(&[cluster("a")]);
    unknown.type_url = "type.googleapis.com/example.Nothing".to_owned();
    assert!(store.apply(&unknown, None).unwrap_err().to_string().contains("example.Nothing"));
    assert!(store.versions().is_empty());
}

#[test]
fn what_was_not_asked_for_is_not_kept() {
    let mut store = Store::new(BOUND);
    let wanted = ["a".to_owned()].into();
    store
        .apply(&answer(&[endpoints("a", "10.0.0.1:80"), endpoints("b", "10.0.0.2:80")]), Some(&wanted))
        .unwrap();
    assert_eq!(store.versions_of(type_url::ENDPOINT), HashMap::from([("a".to_owned(), "1".to_owned())]));
}

#[test]
fn what_was_accepted_is_accepted_again_from_its_own_answers() {
    let served = Served::complete();
    let mut again = Store::new(Duration::ZERO);
    for response in served.store.responses() {
        again.apply(&response, None).unwrap();
    }
    let snapshot = again.publish(served.now).snapshot.unwrap();
    assert_eq!(snapshot.listeners, served.snapshot.listeners);
    assert_eq!(snapshot.routes, served.snapshot.routes);
    assert_eq!(snapshot.clusters, served.snapshot.clusters);
    assert_eq!(snapshot.endpoints, served.snapshot.endpoints);
    assert_eq!(again.versions(), served.store.versions());
}
