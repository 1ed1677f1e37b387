use super::*;

/// A packet, as the rules see one.
struct Packet {
    mark: u32,
    uid: u32,
    gid: u32,
    interface: &'static str,
    to_loopback: bool,
    udp: bool,
    port: u16,
    /// The ranges it is in.
    ranges: Vec<Cidr>,
}

const PLAIN: Packet = Packet {
    mark: 0,
    uid: 1000,
    gid: 1000,
    interface: "eth0",
    to_loopback: false,
    udp: false,
    port: 80,
    ranges: Vec::new(),
};

/// What the kernel would do.
fn decide(setting: &Interception, chain: Chain, packet: &Packet) -> Verdict {
    let matches = |condition: &Condition| match condition {
        Condition::Mark(mark) => packet.mark == *mark,
        Condition::User(uid) => packet.uid == *uid,
        Condition::Group(gid) => packet.gid == *gid,
        Condition::From(name) | Condition::To(name) => packet.interface == name,
        Condition::ToLoopback => packet.to_loopback,
        Condition::Tcp => !packet.udp,
        Condition::Udp => packet.udp,
        Condition::Port(port) => packet.port == *port,
        Condition::Destination(range) => packet.ranges.contains(range),
    };
    rules(setting, Family::Ipv4)
        .into_iter()
        .find(|rule| rule.chain == chain && rule.conditions.iter().all(matches))
        .map_or(Verdict::Pass, |rule| rule.verdict)
}

#[test]
fn what_leaves_goes_to_the_proxy_but_the_proxys_own_packets_pass() {
    let setting = Interception::default();
    assert_eq!(decide(&setting, Chain::Output, &PLAIN), Verdict::Redirect(15001));
    assert_eq!(decide(&setting, Chain::Output, &Packet { mark: 0x539, ..PLAIN }), Verdict::Pass);
    assert_eq!(decide(&setting, Chain::Output, &Packet { mark: 0x539, port: 53, ..PLAIN }), Verdict::Pass);
    let to_application = Packet { mark: 0x539, to_loopback: true, ..PLAIN };
    assert_eq!(decide(&setting, Chain::Output, &to_application), Verdict::Pass);
}

#[test]
fn in_a_pod_the_proxy_is_told_by_its_user_or_group_and_others_can_be_excluded() {
    let setting = Interception {
        own: Own::Process { uid: 1337, gid: 1338 },
        excluded_uids: [7].into(),
        excluded_gids: [8].into(),
        excluded_interfaces: ["net1".to_owned()].into(),
        ..Interception::default()
    };
    for passes in [
        Packet { uid: 1337, ..PLAIN },
        Packet { gid: 1338, port: 53, ..PLAIN },
        Packet { uid: 7, port: 53, ..PLAIN },
        Packet { gid: 8, ..PLAIN },
        Packet { interface: "net1", ..PLAIN },
    ] {
        assert_eq!(decide(&setting, Chain::Output, &passes), Verdict::Pass);
    }
    assert_eq!(decide(&setting, Chain::Output, &Packet { mark: 0x539, ..PLAIN }), Verdict::Redirect(15001));
    assert_eq!(decide(&setting, Chain::Prerouting, &Packet { interface: "net1", ..PLAIN }), Verdict::Pass);
    assert_eq!(decide(&setting, Chain::Prerouting, &PLAIN), Verdict::Redirect(15006));
}

#[test]
fn a_workload_reaches_itself_directly() {
    let setting = Interception::default();
    assert_eq!(decide(&setting, Chain::Output, &Packet { to_loopback: true, ..PLAIN }), Verdict::Pass);
}

#[test]
fn dns_goes_to_the_resolver_even_over_loopback_unless_it_is_left_alone() {
    let setting = Interception::default();
    for udp in [true, false] {
        let query = Packet { to_loopback: true, udp, port: 53, ..PLAIN };
        assert_eq!(decide(&setting, Chain::Output, &query), Verdict::Redirect(15053));
    }
    let without = Interception { dns_port: None, ..Interception::default() };
    assert_eq!(decide(&without, Chain::Output, &Packet { udp: true, port: 53, ..PLAIN }), Verdict::Pass);
}

#[test]
fn other_udp_passes() {
    assert_eq!(
        decide(&Interception::default(), Chain::Output, &Packet { udp: true, ..PLAIN }),
        Verdict::Pass
    );
    assert_eq!(
        decide(&Interception::default(), Chain::Prerouting, &Packet { udp: true, ..PLAIN }),
        Verdict::Pass
    );
}

#[test]
fn exclusions_win_over_inclusions_on_the_way_out() {
    let inner: Cidr = "10.1.0.0/16".parse().unwrap();
    let outer: Cidr = "10.0.0.0/8".parse().unwrap();
    let setting = Interception {
        included_outbound_ranges: Some(vec![outer]),
        included_outbound_ports: [8443].into(),
        excluded_outbound_ranges: vec![inner],
        excluded_outbound_ports: [5432].into(),
        ..Interception::default()
    };
    let packet = |ranges, port| Packet { ranges, port, ..PLAIN };
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![outer], 80)), Verdict::Redirect(15001));
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![outer], 5432)), Verdict::Pass);
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![outer, inner], 80)), Verdict::Pass);
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![], 80)), Verdict::Pass);
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![], 8443)), Verdict::Redirect(15001));
    assert_eq!(decide(&setting, Chain::Output, &packet(vec![inner], 8443)), Verdict::Pass);
    let none = Interception { included_outbound_ranges: Some(Vec::new()), ..Interception::default() };
    assert_eq!(decide(&none, Chain::Output, &PLAIN), Verdict::Pass);
}

#[test]
fn what_arrives_goes_to_the_proxy_but_its_own_ports_answer_themselves() {
    let setting = Interception::default();
    assert_eq!(decide(&setting, Chain::Prerouting, &PLAIN), Verdict::Redirect(15006));
    for port in [15000, 15020, 15021, 15090] {
        assert_eq!(decide(&setting, Chain::Prerouting, &Packet { port, ..PLAIN }), Verdict::Pass);
    }
    let none = Interception { included_inbound_ports: Some([].into()), ..Interception::default() };
    assert_eq!(decide(&none, Chain::Prerouting, &PLAIN), Verdict::Pass);
    let some = Interception { included_inbound_ports: Some([8080].into()), ..Interception::default() };
    assert_eq!(decide(&some, Chain::Prerouting, &PLAIN), Verdict::Pass);
    assert_eq!(decide(&some, Chain::Prerouting, &Packet { port: 8080, ..PLAIN }), Verdict::Redirect(15006));
}

#[test]
fn a_range_only_stands_in_its_own_family() {
    let setting = Interception {
        excluded_outbound_ranges: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        ..Interception::default()
    };
    let count = |family| {
        let of_range = |rule: &Rule| rule.conditions.iter().any(|it| matches!(it, Condition::Destination(_)));
        rules(&setting, family).iter().filter(|rule| of_range(rule)).count()
    };
    assert_eq!((count(Family::Ipv4), count(Family::Ipv6)), (1, 1));
}
