use super::*;

fn peer(number: u32) -> Peer {
    Peer { address: IpAddr::V4(Ipv4Addr::from(number)), port: 9080, calls: 1 }
}

#[test]
fn callers_are_told_apart_up_to_a_bound_and_all_are_counted() {
    let mut one = PlainPeers::default();
    let mut two = PlainPeers::default();
    for round in 0..3 {
        (0..1000).for_each(|number| one.count(peer(number)));
        two.count(peer(round));
    }
    one.add(&two);
    let peers: Vec<PlaintextPeer> = one.into_peers().collect();
    assert_eq!(peers.len(), PEERS + 1);
    assert_eq!(peers.iter().map(|peer| peer.count).sum::<u64>(), 3003);
    assert_eq!((peers[0].address.as_str(), peers[0].port, peers[0].count), ("0.0.0.0", 9080, 4));
    assert_eq!(peers[PEERS].address, "");
}
