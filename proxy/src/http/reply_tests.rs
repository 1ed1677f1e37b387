use super::*;
use crate::error::ErrorSource;

fn error(progress: Progress) -> ProxyError {
    ProxyError {
        fault: ErrorSource::Upstream,
        progress,
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: ResponseFlag::UpstreamOverflow,
        details: "overflow",
        message: "too much: 100 % of ünits".to_owned(),
    }
}

#[test]
fn a_client_is_told_what_is_wrong() {
    let response = of_error(&error(Progress::MaybeProcessed), false, true);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["x-envoy-overloaded"], "true");
    assert!(!response.headers().contains_key("x-weft-unprocessed"));
    assert!(matches!(response.body(), Body::Full(text) if text == "too much: 100 % of ünits"));
}

#[test]
fn a_grpc_client_is_told_in_grpcs_words() {
    let response = of_error(&error(Progress::Unprocessed), true, false);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(response.headers()["grpc-message"], "too much: 100 %25 of %C3%BCnits");
    assert!(matches!(response.body(), Body::Empty));
}

#[test]
fn only_a_sidecar_is_told_that_nothing_was_processed() {
    assert_eq!(of_error(&error(Progress::Unprocessed), false, true).headers()["x-weft-unprocessed"], "1");
    assert!(
        !of_error(&error(Progress::Unprocessed), false, false).headers().contains_key("x-weft-unprocessed")
    );
}

#[test]
fn statuses_are_mapped_as_envoy_maps_them() {
    for (http, grpc) in
        [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (503, 14), (504, 14), (500, 2), (418, 2)]
    {
        assert_eq!(grpc_status(StatusCode::from_u16(http).unwrap()), grpc, "{http}");
    }
}
