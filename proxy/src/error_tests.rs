use super::*;

#[test]
fn flags_print_as_envoy_prints_them() {
    let mut flags = ResponseFlags::default();
    assert_eq!(flags.to_string(), "-");
    flags.insert(ResponseFlag::UpstreamRequestTimeout);
    flags.insert(ResponseFlag::DelayInjected);
    assert_eq!(flags.to_string(), "DI,UT");
    assert!(flags.contains(ResponseFlag::DelayInjected) && !flags.contains(ResponseFlag::NoRouteFound));
}
