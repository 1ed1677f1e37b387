use std::time::Duration;

use weft_model::listener::{Direction, FilterChainMatch, NetworkFilter, TcpProxy};

use super::*;

fn chain(name: &str, port: Option<u16>, transport: Option<Transport>, protocols: &[&str]) -> FilterChain {
    let matches = FilterChainMatch {
        destination_port: port,
        transport,
        application_protocols: protocols.iter().map(|p| Arc::from(*p)).collect(),
        ..FilterChainMatch::default()
    };
    let filter = NetworkFilter::Tcp(TcpProxy {
        stat_prefix: name.into(),
        clusters: Vec::new(),
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    });
    FilterChain::new(name, matches, None, filter)
}

fn listener(filter_chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: "inbound".into(),
        addresses: Vec::new(),
        bind: true,
        use_original_dst: true,
        headless: false,
        direction: Direction::Inbound,
        inspection: Inspection {
            tls: true,
            http: true,
            timeout: Duration::from_millis(500),
            ..Inspection::default()
        },
        filter_chains,
        default_filter_chain: None,
        provenance: Vec::new(),
    }
}

#[test]
fn only_what_some_chain_of_the_port_asks_about_is_looked_for() {
    let listener = listener(vec![
        chain("mysql", Some(3306), None, &[]),
        chain("web-mtls", Some(80), Some(Transport::Tls), &["istio"]),
        chain("web", Some(80), Some(Transport::Raw), &[]),
        chain("any-http", Some(90), Some(Transport::Raw), &["http/1.1"]),
        chain("any-tcp", Some(90), Some(Transport::Raw), &[]),
        chain("rest", None, Some(Transport::Raw), &[]),
    ]);
    let needed = |port: u16| {
        let inspection = needed_inspection(&listener, SocketAddr::from(([10, 0, 0, 1], port)));
        (inspection.tls, inspection.http)
    };
    assert_eq!(needed(3306), (false, false), "a declared protocol is not looked at");
    assert_eq!(needed(80), (true, false));
    assert_eq!(needed(90), (true, true));
    assert_eq!(needed(1234), (true, false));
}

#[test]
fn a_chain_is_found_again_in_another_snapshot_unless_it_asks_for_something_else() {
    let facts = ConnectionFacts {
        destination: SocketAddr::from(([10, 0, 0, 1], 80)),
        transport: Transport::Raw,
        application_protocols: &[],
        server_name: None,
    };
    let plain = chain("web", Some(80), Some(Transport::Raw), &[]);
    let first = Arc::new(listener(vec![plain.clone()]));
    let chosen = ChosenChain::choose(&first, &facts).unwrap();
    let with = |chains| {
        let mut snapshot = Snapshot::default();
        snapshot.listeners.insert("inbound".into(), Arc::new(listener(chains)));
        snapshot
    };
    assert!(chosen.in_snapshot(&with(vec![chain("new", Some(90), None, &[]), plain])).is_some());
    assert!(chosen.in_snapshot(&with(vec![chain("web", Some(80), Some(Transport::Tls), &[])])).is_none());
    assert!(chosen.in_snapshot(&Snapshot::default()).is_none());
}
