use super::*;

#[test]
fn the_default_setting_holds() {
    assert_eq!(Interception::default().check(), Ok(Interception::default()));
}

#[test]
fn every_mistake_of_a_setting_is_reported_at_once() {
    let refused = Interception {
        outbound_port: 15006,
        dns_port: Some(0),
        own: Own::Mark(0),
        excluded_interfaces: ["eth0; flush ruleset".to_owned()].into(),
        included_outbound_ports: [5432].into(),
        excluded_outbound_ports: [5432].into(),
        included_inbound_ports: Some([8080].into()),
        excluded_inbound_ports: [8080].into(),
        included_outbound_ranges: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        excluded_outbound_ranges: vec!["10.9.9.9/8".parse().unwrap()],
        ..Interception::default()
    }
    .check()
    .unwrap_err();
    assert_eq!(refused.0.len(), 7, "{refused}");
    let text = refused.to_string();
    for part in [
        "mark 0x0",
        "both 15006",
        "DNS port must not be 0",
        "port 8080 is both",
        "10.0.0.0/8 is both",
        "`eth0; flush ruleset` is no name",
        "port 5432 is both",
    ] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn the_proxy_is_not_told_by_being_root() {
    for own in [Own::Process { uid: 0, gid: 1337 }, Own::Process { uid: 1337, gid: 0 }] {
        let refused = Interception { own, ..Interception::default() }.check().unwrap_err();
        assert!(refused.to_string().contains("user or group 0"), "{refused}");
    }
}

#[test]
fn ranges_are_read_and_cleared_behind_the_prefix() {
    for (text, read) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("1.2.3.4/0", "0.0.0.0/0"),
        ("fd00:1:2::5/32", "fd00:1::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(text.parse::<Cidr>().unwrap().to_string(), read);
    }
}

#[test]
fn what_is_no_range_is_refused_with_the_reason() {
    for (text, why) in [
        ("10.0.0.0/33", "0 to 32"),
        ("::/129", "0 to 128"),
        ("10.0.0/8", "no IP address"),
        ("", "no IP address"),
        ("10.0.0.0/", "prefix length"),
        ("10.0.0.0/+8x", "prefix length"),
        ("example.com/8", "no IP address"),
    ] {
        let refused = text.parse::<Cidr>().unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}
