use weft_model::route::{GrpcTimeout, MoreForward};

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn a_request_without_bounds_of_its_own_has_the_routes() {
    assert!(of_request(&Forward::to("a"), true, &mut headers(&[("grpc-timeout", "1S")])).is_none());
}

#[test]
fn the_request_may_say_how_much_time_it_has() {
    let mut headers = headers(&[("x-envoy-upstream-rq-timeout-ms", "250")]);
    let bounded = of_request(&Forward::to("a"), false, &mut headers).unwrap();
    assert_eq!(bounded.timeout, Some(Duration::from_millis(250)));
    assert!(headers.is_empty(), "it is for this hop");
}

#[test]
fn a_client_cannot_lift_the_bound_that_governs_it() {
    let forward = Forward { timeout: Some(Duration::from_secs(1)), ..Forward::to("a") };
    let bound = |text| {
        let mut headers = headers(&[("x-envoy-upstream-rq-timeout-ms", text)]);
        of_request(&forward, false, &mut headers).unwrap().timeout
    };
    assert_eq!(bound("5000"), Some(Duration::from_secs(1)));
    assert_eq!(bound("0"), Some(Duration::from_secs(1)));
    assert_eq!(bound("20"), Some(Duration::from_millis(20)));
}

#[test]
fn grpcs_time_out_is_obeyed_within_the_routes_bounds() {
    let grpc = GrpcTimeout { most: Some(Duration::from_secs(2)), offset: Duration::from_millis(100) };
    let more = MoreForward { grpc_timeout: Some(grpc), ..MoreForward::default() };
    let forward = Forward { more: Some(Box::new(more)), ..Forward::to("a") };
    let bound = |text| of_request(&forward, true, &mut headers(&[("grpc-timeout", text)])).unwrap().timeout;
    assert_eq!(bound("500m"), Some(Duration::from_millis(400)));
    assert_eq!(bound("1H"), Some(Duration::from_secs(2)));
    assert!(of_request(&forward, true, &mut headers(&[("grpc-timeout", "x")])).is_none());
}
