use super::*;

#[test]
fn the_bridge_has_the_first_address_of_each_network() {
    assert_eq!(bridge_address(), "10.250.0.1");
    let both = bridge_batch(true);
    assert!(both.contains("address add 10.250.0.1/16 dev weft0\n"), "{both}");
    assert!(both.contains("address add fd57:6566:7400::1/64 dev weft0 nodad\n"), "{both}");
    assert!(!bridge_batch(false).contains("fd57"));
}

#[test]
fn a_workload_gets_the_addresses_and_routes_it_was_given() {
    let addresses = ["10.250.0.7/16".to_owned(), "fd57:6566:7400::7/64".to_owned()];
    let gateways = ["10.250.0.1".to_owned(), "fd57:6566:7400::1".to_owned()];
    assert_eq!(
        workload_batch(&addresses, &gateways).unwrap(),
        "link set lo up\nlink set eth0 up\naddress add 10.250.0.7/16 dev eth0\n\
         address add fd57:6566:7400::7/64 dev eth0 nodad\nroute add 0.0.0.0/0 via 10.250.0.1 dev eth0\n\
         route add ::/0 via fd57:6566:7400::1 dev eth0\n"
    );
}

#[test]
fn what_is_no_address_never_reaches_the_tool() {
    for bad in ["10.250.0.7", "x/16", "10.0.0.1/16 dev eth0\nlink delete lo"] {
        assert!(workload_batch(&[bad.to_owned()], &[]).is_err(), "{bad}");
    }
    assert!(workload_batch(&[], &["gateway".to_owned()]).is_err());
}
