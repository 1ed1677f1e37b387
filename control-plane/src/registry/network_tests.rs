use super::*;

fn networks() -> WorkloadNetworks {
    WorkloadNetworks { v4: "10.250.0.0/28".parse().unwrap(), v6: Some("fd00:7766::/64".parse().unwrap()) }
}

#[test]
fn addresses_are_given_in_turn_and_used_again_only_at_the_end() {
    let (mut taken, mut last) = (BTreeSet::new(), 0);
    let mut order = Vec::new();
    while let Some(addresses) = networks().allocate(&taken, &mut last) {
        order.push(addresses[0].to_string());
        taken.insert(addresses[0]);
        assert_eq!(addresses.len(), 2);
    }
    assert_eq!((order.len(), order[0].as_str(), order[12].as_str()), (13, "10.250.0.2", "10.250.0.14"));
    taken.remove(&"10.250.0.5".parse().unwrap());
    assert_eq!(networks().allocate(&taken, &mut last).unwrap()[0].to_string(), "10.250.0.5");
}

#[test]
fn an_address_that_was_given_back_is_not_the_next_one() {
    let taken = BTreeSet::from(["10.250.0.4".parse().unwrap()]);
    let mut last = 0;
    for expected in ["10.250.0.5", "10.250.0.6"] {
        assert_eq!(networks().allocate(&taken, &mut last).unwrap()[0].to_string(), expected);
    }
}

#[test]
fn the_first_address_is_the_gateway() {
    let networks = networks();
    assert_eq!(networks.v4.gateway().to_string(), "10.250.0.1");
    assert_eq!(networks.v6.unwrap().gateway().to_string(), "fd00:7766::1");
    assert_eq!(networks.v4.with_length("10.250.0.7".parse().unwrap()), "10.250.0.7/28");
}

#[test]
fn what_is_no_range_is_refused_with_the_reason() {
    for text in ["", "10.0.0.0", "10.0.0.0/x", "10.0.0.0/30", "10.0.0.1/16", "10.0.0.0/33", "fd00::1/64"] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
    assert!("0.0.0.0/0".parse::<Network>().is_ok());
}
