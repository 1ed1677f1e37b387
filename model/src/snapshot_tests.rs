use super::*;
use crate::route::{Forward, Route, RouteMatch, VirtualHost};

#[test]
fn a_reference_to_nothing_is_named() {
    let route = Route {
        name: "r".into(),
        matches: RouteMatch::any(),
        action: RouteAction::Forward(Forward::to("outbound|80||gone")),
        request_headers: Default::default(),
        response_headers: Default::default(),
        filters: Default::default(),
        provenance: Vec::new(),
    };
    let host = VirtualHost {
        name: "h".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let mut snapshot = Snapshot::default();
    snapshot.routes.insert("t".into(), Arc::new(RouteTable::new("t", vec![host])));
    assert_eq!(
        snapshot.dangling(),
        ["route table t refers to cluster outbound|80||gone, which is not known"]
    );
}
