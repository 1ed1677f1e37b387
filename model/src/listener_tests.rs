use super::*;

fn chain(name: &str, matches: FilterChainMatch) -> FilterChain {
    let tcp = TcpProxy {
        stat_prefix: name.into(),
        clusters: vec![WeightedCluster::new("c", 1)],
        idle_timeout: None,
        hash_source_ip: false,
        metadata_match: Default::default(),
    };
    FilterChain::new(name, matches, None, NetworkFilter::Tcp(tcp))
}

fn listener(filter_chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: "l".into(),
        addresses: vec!["0.0.0.0:15006".parse().unwrap()],
        bind: true,
        use_original_dst: true,
        headless: false,
        direction: Direction::Inbound,
        inspection: Inspection::default(),
        filter_chains,
        default_filter_chain: Some(chain("default", FilterChainMatch::default())),
        provenance: Vec::new(),
    }
}

#[test]
fn each_criterion_narrows_to_the_most_specific() {
    let port = |port| FilterChainMatch { destination_port: Some(port), ..Default::default() };
    let listener = listener(vec![
        chain("tls", FilterChainMatch { transport: Some(Transport::Tls), ..port(80) }),
        chain(
            "mtls",
            FilterChainMatch {
                transport: Some(Transport::Tls),
                application_protocols: vec!["istio".into()],
                ..port(80)
            },
        ),
        chain("raw", FilterChainMatch { transport: Some(Transport::Raw), ..port(80) }),
        chain("any-port-tls", FilterChainMatch { transport: Some(Transport::Tls), ..Default::default() }),
    ]);
    let chosen = |port: u16, transport, protocols: &[&str]| {
        let facts = ConnectionFacts {
            destination: ([10, 0, 0, 1], port).into(),
            transport,
            application_protocols: protocols,
            server_name: None,
        };
        listener.serving_chain(&facts).unwrap().name.to_string()
    };
    assert_eq!(chosen(80, Transport::Tls, &["istio", "h2"]), "mtls");
    assert_eq!(chosen(80, Transport::Tls, &["h2"]), "tls");
    assert_eq!(chosen(80, Transport::Raw, &[]), "raw");
    assert_eq!(chosen(81, Transport::Tls, &[]), "any-port-tls");
    assert_eq!(chosen(81, Transport::Raw, &[]), "default");
}

#[test]
fn longer_prefixes_win_and_families_do_not_mix() {
    let within = |text: &str, length| IpPrefix { address: text.parse().unwrap(), length };
    let prefixes = |p: Vec<IpPrefix>| FilterChainMatch { destination_prefixes: p, ..Default::default() };
    let listener = listener(vec![
        chain("wide", prefixes(vec![within("10.0.0.0", 8)])),
        chain("narrow", prefixes(vec![within("10.1.0.0", 16), within("fd00::", 8)])),
    ]);
    let chosen = |address: &str| {
        let facts = ConnectionFacts {
            destination: address.parse().unwrap(),
            transport: Transport::Raw,
            application_protocols: &[],
            server_name: None,
        };
        listener.serving_chain(&facts).unwrap().name.to_string()
    };
    assert_eq!(chosen("10.1.2.3:1"), "narrow");
    assert_eq!(chosen("10.2.2.3:1"), "wide");
    assert_eq!(chosen("[fd12::1]:1"), "narrow");
    assert_eq!(chosen("[::1]:1"), "default");
    assert!(within("0.0.0.0", 0).contains("1.2.3.4".parse().unwrap()));
}
