//! Cross-origin requests (<https://fetch.spec.whatwg.org/#http-cors-protocol>), as Envoy's CORS filter answers them.

use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use weft_model::filter::cors::CorsPolicy;
use weft_model::policy::HeaderMutations;

use super::chain::{After, Passage};
use crate::body::Body;

const PRIVATE_NETWORK_ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Answers a preflight; lets the answer of another request say who may read it.
pub(super) fn decide(policy: &CorsPolicy, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let headers = passage.request.headers();
    let origin = headers.get(header::ORIGIN)?.clone();
    if !policy.enabled.includes(fastrand::u32(..)) {
        return None;
    }
    let preflight = passage.request.method() == Method::OPTIONS
        && headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
    let allowed = origin.to_str().is_ok_and(|origin| policy.allows(origin));
    if !preflight {
        if allowed {
            passage.context.after.push(After::Headers(Box::new(of_answer(policy, origin))));
        }
        return None;
    }
    if !allowed && policy.forward_not_matching_preflights {
        return None;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::OK;
    passage.context.details = "cors_response";
    if allowed {
        let private = policy.private_network
            && headers.get(PRIVATE_NETWORK_ASKED).is_some_and(|asked| asked.as_bytes() == b"true");
        let told = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &policy.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &policy.headers),
            (header::ACCESS_CONTROL_MAX_AGE, &policy.max_age),
        ];
        let answer = response.headers_mut();
        for (name, value) in told.into_iter().filter(|(_, value)| !value.is_empty()) {
            answer.insert(name, value.clone());
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if policy.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if private {
            answer.insert(PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }
    Some(response)
}

fn of_answer(policy: &CorsPolicy, origin: HeaderValue) -> HeaderMutations {
    let credentials = (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    let expose = (header::ACCESS_CONTROL_EXPOSE_HEADERS, policy.expose.clone());
    let told = [
        Some((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)),
        policy.credentials.then_some(credentials),
        (!policy.expose.is_empty()).then_some(expose),
    ];
    HeaderMutations::of(Vec::new(), told.into_iter().flatten(), [])
}
