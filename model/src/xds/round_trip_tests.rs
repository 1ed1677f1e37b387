use std::sync::Arc;

use proptest::prelude::*;

use super::{Resource, cluster, endpoint, listener, name_table, route, strategies};
use crate::route::{Forward, Route, RouteAction, RouteMatch, RouteTable, VirtualHost};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_listener_is_read_as_it_was_written(value in strategies::listener()) {
        prop_assert_eq!(listener::decode(&listener::encode(&value)), Ok(value));
    }

    #[test]
    fn a_route_table_is_read_as_it_was_written(value in strategies::routes()) {
        prop_assert_eq!(route::decode(&route::encode(&value)), Ok(value));
    }

    #[test]
    fn a_cluster_is_read_as_it_was_written(value in strategies::cluster()) {
        prop_assert_eq!(cluster::decode(&cluster::encode(&value)), Ok(value));
    }

    #[test]
    fn endpoints_are_read_as_they_were_written(value in strategies::endpoints()) {
        prop_assert_eq!(endpoint::decode(&endpoint::encode(&value)), Ok(value));
    }

    #[test]
    fn a_name_table_is_read_as_it_was_written(value in strategies::names()) {
        prop_assert_eq!(name_table::decode(&name_table::encode(&value)), Ok(value));
    }

    #[test]
    fn equal_clusters_and_listeners_have_equal_bytes(c in strategies::cluster(), l in strategies::listener()) {
        prop_assert_eq!(cluster::encode(&c), cluster::encode(&c.clone()));
        prop_assert_eq!(listener::encode(&l), listener::encode(&l.clone()));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = listener::decode(&bytes);
        let _ = route::decode(&bytes);
        let _ = cluster::decode(&bytes);
        let _ = endpoint::decode(&bytes);
        let _ = name_table::decode(&bytes);
    }

    #[test]
    fn damaged_resources_never_panic(value in strategies::listener(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = listener::encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = listener::decode(&bytes);
    }
}

#[test]
fn a_name_table_has_the_same_bytes_whatever_the_order_of_its_map() {
    let table = |order: &mut dyn Iterator<Item = u8>| {
        let names = order.map(|i| (Arc::from(format!("host{i}")), vec![[10, 0, 0, i].into()]));
        Resource::Names(Arc::new(names.collect()))
    };
    assert_eq!(table(&mut (0..100)).encode(), table(&mut (0..100).rev()).encode());
}

#[test]
fn a_route_without_any_weight_answers_503() {
    let mut forward = Forward::to("outbound|80||a");
    forward.clusters[0].weight = 0;
    let route = Route::new(RouteMatch::any(), RouteAction::Forward(forward));
    let host = VirtualHost {
        name: "h".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let read = route::decode(&route::encode(&RouteTable::new("t", vec![host]))).unwrap();
    let RouteAction::Respond(response) = &read.virtual_hosts[0].routes[0].action else { panic!("{read:?}") };
    assert_eq!(response.status, 503);
}
