use super::*;

#[test]
fn the_default_rules_read_as_they_should() {
    insta::assert_snapshot!(apply_script(&Interception::default(), &[Family::Ipv4, Family::Ipv6]));
}

#[test]
fn a_setting_with_everything_reads_as_it_should() {
    insta::assert_snapshot!(apply_script(
        &super::super::iptables::tests::everything(),
        &[Family::Ipv4, Family::Ipv6]
    ));
}
