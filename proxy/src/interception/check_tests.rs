use super::*;

fn target_of(setting: &Interception, family: Family) -> Option<String> {
    target(setting, family).map(|to| to.to_string())
}

#[test]
fn it_sends_to_nobody_unless_only_some_ranges_are_intercepted() {
    let mut setting = Interception::default();
    assert_eq!(target_of(&setting, Family::Ipv4).as_deref(), Some("192.0.2.1:80"));
    assert_eq!(target_of(&setting, Family::Ipv6).as_deref(), Some("[2001:db8::1]:80"));
    setting.excluded_outbound_ports = [80, 81].into();
    setting.excluded_outbound_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    assert_eq!(target_of(&setting, Family::Ipv4).as_deref(), Some("198.51.100.1:82"));
    setting.included_outbound_ranges = Some(vec!["10.96.0.0/16".parse().unwrap()]);
    assert_eq!(target_of(&setting, Family::Ipv4).as_deref(), Some("10.96.0.1:82"));
    assert_eq!(target_of(&setting, Family::Ipv6), None);
    setting.included_outbound_ports = [9000].into();
    assert_eq!(target_of(&setting, Family::Ipv6).as_deref(), Some("[2001:db8::1]:9000"));
}

#[test]
fn there_may_be_nothing_to_check() {
    let mut setting = Interception { included_outbound_ranges: Some(Vec::new()), ..Interception::default() };
    assert_eq!(target_of(&setting, Family::Ipv4), None);
    setting.included_outbound_ranges = None;
    setting.excluded_outbound_ranges = vec!["0.0.0.0/0".parse().unwrap()];
    assert_eq!(target_of(&setting, Family::Ipv4), None);
}

#[test]
fn a_range_of_one_address_has_no_second() {
    let one: Cidr = "10.0.0.7".parse().unwrap();
    assert_eq!((one.second(), one.contains("10.0.0.8".parse().unwrap())), (one.first(), false));
}

#[test]
fn who_passes_can_prove_nothing() {
    let uid = nix::unistd::geteuid().as_raw();
    let setting = Interception { excluded_uids: [uid].into(), ..Interception::default() };
    let error = check(&setting, &[Family::Ipv4], Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains(&format!("user {uid}")), "{error}");
}
