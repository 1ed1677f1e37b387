use proptest::prelude::*;

use super::*;
use crate::cluster::{Discovery, UpstreamTls, UpstreamTransport};
use crate::matcher::{
    FullRegex, HeaderKey, HeaderMatch, PathMatch, PseudoHeader, StringMatch, StringPattern, ValueMatch,
};
use crate::policy::{HeaderMutations, RetryConditions, RetryPolicy};
use crate::provenance::{ObjectRef, Provenance};
use crate::route::{Forward, Route, RouteAction, RouteMatch, VirtualHost};
use crate::xds::strategies;

fn canary() -> RouteTable {
    let mut forward = Forward::to("outbound|9080|v2|reviews.default.svc.cluster.local");
    forward.timeout = Some(Duration::from_millis(1500));
    forward.retry = Some(RetryPolicy {
        retries: 2,
        conditions: RetryConditions::CONNECT_FAILURE.and(RetryConditions::RESET),
        status_codes: [503].into(),
        per_try_timeout: Some(Duration::from_millis(250)),
        per_try_idle_timeout: None,
        backoff_base: RetryPolicy::BACKOFF_BASE,
        backoff_max: RetryPolicy::BACKOFF_MAX,
        idempotent_only: true,
        avoid_tried_endpoints: true,
        ..RetryPolicy::default()
    });
    let user = HeaderMatch {
        name: HeaderKey::Header(http::HeaderName::from_static("end-user")),
        value: ValueMatch::Value(StringMatch {
            pattern: StringPattern::Regex(FullRegex::new("j.*n").unwrap()),
            ignore_case: false,
        }),
        invert: false,
        absent_as_empty: false,
    };
    let method = HeaderMatch {
        name: HeaderKey::Pseudo(PseudoHeader::Method),
        value: ValueMatch::Value(StringMatch::exact("GET")),
        invert: true,
        absent_as_empty: false,
    };
    let object = ObjectRef::new("networking.istio.io/v1", "VirtualService", "default", "reviews");
    let route = Route {
        name: "canary".into(),
        matches: RouteMatch {
            path: PathMatch::Regex(FullRegex::new("/api/v[0-9]+").unwrap()),
            headers: vec![user, method],
            query: Vec::new(),
            more: None,
        },
        action: RouteAction::Forward(forward),
        request_headers: HeaderMutations::of(
            Vec::new(),
            [("x-canary".parse().unwrap(), "yes".parse().unwrap())],
            [],
        ),
        response_headers: HeaderMutations::default(),
        filters: Default::default(),
        provenance: vec![Provenance { object, generation: 3, field: "spec.http[0]".into() }],
    };
    let host = VirtualHost {
        name: "reviews".into(),
        domains: vec!["reviews".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteTable::new("9080", vec![host])
}

#[test]
fn a_route_shows_texts_of_regular_expressions_headers_durations_and_where_it_came_from() {
    let shown = routes(&canary());
    let route = &shown["virtual_hosts"][0]["routes"][0];
    assert_eq!(route["match"]["path"]["safe_regex"], "/api/v[0-9]+");
    let user = json!({ "safe_regex": "j.*n", "ignore_case": false });
    assert_eq!(
        (&route["match"]["headers"][0]["name"], &route["match"]["headers"][0]["value"]),
        (&json!("end-user"), &user)
    );
    assert_eq!(route["match"]["headers"][1]["name"], ":method");
    assert_eq!(route["match"]["headers"][1]["invert_match"], true);
    let to = &route["action"]["route"];
    assert_eq!(to["clusters"][0]["name"], "outbound|9080|v2|reviews.default.svc.cluster.local");
    assert_eq!((&to["timeout"], &to["retry_policy"]["per_try_timeout"]), (&json!("1.5s"), &json!("0.25s")));
    assert_eq!(to["retry_policy"]["retry_on"], "connect-failure,reset");
    assert_eq!(to["retry_policy"]["retriable_status_codes"], json!([503]));
    assert_eq!(route["request_headers"]["set"], json!([["x-canary", "yes"]]));
    assert_eq!(route["provenance"][0]["object"]["kind"], "VirtualService");
    assert_eq!(route["provenance"][0]["field"], "spec.http[0]");
}

#[test]
fn a_cluster_shows_its_endpoints_and_whom_it_trusts() {
    let mut one = Cluster::new("a", Discovery::Endpoints("a".into()));
    let tls =
        UpstreamTls { identities: ["spiffe://mesh/ns/default/sa/a".into()].into(), sni: "a.mesh".into() };
    one.transport = UpstreamTransport::MutualTls(tls);
    let shown = cluster(&one);
    assert_eq!(shown["discovery"], json!({ "type": "EDS", "service_name": "a" }));
    assert_eq!(shown["transport"]["mutual_tls"]["identities"], json!(["spiffe://mesh/ns/default/sa/a"]));
    assert_eq!((&shown["lb_policy"], &shown["connect_timeout"]), (&json!("LEAST_REQUEST"), &json!("10s")));
}

#[test]
fn names_are_in_order() {
    let table: Names = [("b", "10.0.0.2"), ("a", "fd00::1")]
        .map(|(name, address)| (name.into(), vec![address.parse().unwrap()]))
        .into();
    assert_eq!(names(&table).to_string(), r#"{"a":["fd00::1"],"b":["10.0.0.2"]}"#);
}

proptest! {
    // Whatever can be served can be shown: an object with keys, never a text in place of one.
    #[test]
    fn a_listener_is_shown_by_name(one in strategies::listener()) {
        let shown = listener(&one);
        prop_assert_eq!(shown["name"].as_str(), Some(&*one.name));
    }

    #[test]
    fn a_route_table_is_shown_by_name(one in strategies::routes()) {
        let shown = routes(&one);
        prop_assert_eq!(shown["name"].as_str(), Some(&*one.name));
        prop_assert_eq!(shown["virtual_hosts"].as_array().map(Vec::len), Some(one.virtual_hosts.len()));
    }

    #[test]
    fn a_cluster_is_shown_by_name(one in strategies::cluster()) {
        let shown = cluster(&one);
        prop_assert_eq!(shown["name"].as_str(), Some(&*one.name));
    }

    #[test]
    fn endpoints_are_shown_by_cluster(one in strategies::endpoints()) {
        let shown = resource(&Resource::Endpoints(one.clone().into()));
        prop_assert_eq!(shown["cluster_name"].as_str(), Some(&*one.cluster));
    }
}
