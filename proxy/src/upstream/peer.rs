//! What two sidecars of the mesh tell each other in headers. Believed only over mutual TLS, and never passed on to an
//! application.

use http::{HeaderName, HeaderValue};
use weft_model::endpoint::WorkloadInfo;

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;

/// On the first request of a connection: who the calling workload is, so that the server's metrics can name it.
pub const X_WEFT_PEER: HeaderName = HeaderName::from_static("x-weft-peer");

/// On a sidecar's own answer: the request reached no application, so that even one that is not idempotent may be
/// sent again. Its value is `1`.
pub const X_WEFT_UNPROCESSED: HeaderName = HeaderName::from_static("x-weft-unprocessed");

/// Which attempt of the original caller a request is, from 1; Envoy's name and meaning.
pub const X_ENVOY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// The form of [`X_WEFT_PEER`]: `name;namespace;service;version;cluster`, as in Istio's endpoint metadata. Characters
/// that a header or the form cannot hold become `_`.
#[must_use]
pub fn encode(workload: &WorkloadInfo) -> HeaderValue {
    let WorkloadInfo { name, namespace, service, version, cluster } = workload;
    let clean = |part: &str| part.replace(|c: char| !c.is_ascii_graphic() || c == ';', "_");
    let text = [name, namespace, service, version, cluster].map(|part| clean(part)).join(";");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(";;;;"))
}

/// The workload that a header names; none when it has not five parts, or more than 1 KiB.
#[must_use]
pub fn decode(value: &HeaderValue) -> Option<WorkloadInfo> {
    let text = value.to_str().ok().filter(|text| text.len() <= 1024)?;
    let mut parts = text.split(';');
    let mut next = || parts.next().map(Into::into);
    let workload = WorkloadInfo {
        name: next()?,
        namespace: next()?,
        service: next()?,
        version: next()?,
        cluster: next()?,
    };
    parts.next().is_none().then_some(workload)
}
