use super::super::setting::Own;
use super::*;

/// A setting that uses every field.
pub(in super::super) fn everything() -> Interception {
    Interception {
        outbound_port: 25001,
        inbound_port: 25006,
        dns_port: None,
        own: Own::Process { uid: 1337, gid: 1338 },
        excluded_uids: [7].into(),
        excluded_gids: [8].into(),
        excluded_interfaces: ["net1".to_owned()].into(),
        included_outbound_ports: [9443].into(),
        included_inbound_ports: Some([8080, 9080].into()),
        excluded_inbound_ports: [22, 15021].into(),
        excluded_outbound_ports: [3306, 5432].into(),
        included_outbound_ranges: Some(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]),
        excluded_outbound_ranges: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()],
    }
}

#[test]
fn the_default_rules_read_as_they_should() {
    insta::assert_snapshot!(apply_script(&Interception::default(), Family::Ipv4, ""));
}

#[test]
fn a_setting_with_everything_reads_as_it_should() {
    insta::assert_snapshot!(apply_script(&everything(), Family::Ipv6, ""));
}

#[test]
fn jumps_that_are_there_are_not_added_again() {
    let saved = ":WEFT_OUTPUT - [0:0]\n-A OUTPUT -j WEFT_OUTPUT\n";
    let script = apply_script(&Interception::default(), Family::Ipv4, saved);
    assert!(!script.contains("-A OUTPUT -j WEFT_OUTPUT"), "{script}");
    assert!(script.contains("-A PREROUTING -p tcp -j WEFT_INBOUND"), "{script}");
}

#[test]
fn only_what_is_there_is_removed() {
    assert_eq!(remove_script("*nat\n:OUTPUT ACCEPT [0:0]\n"), None);
    let saved = ":WEFT_OUTPUT - [0:0]\n-A OUTPUT -j WEFT_OUTPUT\n";
    assert_eq!(
        remove_script(saved).as_deref(),
        Some("*nat\n-D OUTPUT -j WEFT_OUTPUT\n-F WEFT_OUTPUT\n-X WEFT_OUTPUT\nCOMMIT\n")
    );
}
