//! What a TLS handshake says of the protocol inside: the ALPN names that Istio's sidecars use.
//!
//! Between sidecars a client offers Istio's own name first (`istio-h2`, `istio-http/1.1`, `istio`), which tells the
//! server that the peer is a sidecar and not an application with TLS of its own, and then the plain name
//! (<https://github.com/istio/istio/blob/master/pilot/pkg/networking/util/util.go>, `ALPNInMesh` and neighbours).

#[cfg(test)]
#[path = "alpn_tests.rs"]
mod tests;

/// What the bytes inside a mutual TLS connection are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ApplicationProtocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, gRPC included.
    Http2,
    /// Anything: bytes are passed on as they come.
    Tcp,
}

const ISTIO_H2: &[u8] = b"istio-h2";
const ISTIO_HTTP_1_1: &[u8] = b"istio-http/1.1";
const ISTIO_HTTP_1_0: &[u8] = b"istio-http/1.0";
const ISTIO_TCP: &[u8] = b"istio";
/// Announces that a metadata exchange precedes the bytes. We do not speak it, so we never select it.
const ISTIO_PEER_EXCHANGE: &[u8] = b"istio-peer-exchange";
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";
const HTTP_1_0: &[u8] = b"http/1.0";

/// In the server's order of preference. Plain names come first: an Envoy that chooses its codec by the negotiated
/// name knows `h2`, but would speak HTTP/1.1 after `istio-h2`.
const ACCEPTED: [&[u8]; 7] = [H2, HTTP_1_1, HTTP_1_0, ISTIO_H2, ISTIO_HTTP_1_1, ISTIO_HTTP_1_0, ISTIO_TCP];

/// The names a server takes, most wanted first.
pub(super) fn accepted_alpn() -> Vec<Vec<u8>> {
    ACCEPTED.iter().map(|name| name.to_vec()).collect()
}

/// The names a client offers for a protocol, most wanted first.
#[must_use]
pub fn offered_alpn(protocol: ApplicationProtocol) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = match protocol {
        ApplicationProtocol::Http1 => &[ISTIO_HTTP_1_1, ISTIO_TCP, HTTP_1_1],
        ApplicationProtocol::Http2 => &[ISTIO_H2, ISTIO_TCP, H2],
        ApplicationProtocol::Tcp => &[ISTIO_TCP],
    };
    names.iter().map(|name| name.to_vec()).collect()
}

/// What the negotiated name means; `None` when there is no name or an unknown one, and the bytes must be sniffed.
#[must_use]
pub fn application_protocol(alpn: Option<&[u8]>) -> Option<ApplicationProtocol> {
    match alpn? {
        H2 | ISTIO_H2 => Some(ApplicationProtocol::Http2),
        HTTP_1_1 | HTTP_1_0 | ISTIO_HTTP_1_1 | ISTIO_HTTP_1_0 => Some(ApplicationProtocol::Http1),
        ISTIO_TCP => Some(ApplicationProtocol::Tcp),
        _ => None,
    }
}

/// Whether only a sidecar offers this name. A client hello without any such name is an application's own TLS, which
/// a PERMISSIVE port passes through untouched.
#[must_use]
pub fn is_mesh_alpn(name: &[u8]) -> bool {
    matches!(name, ISTIO_H2 | ISTIO_HTTP_1_1 | ISTIO_HTTP_1_0 | ISTIO_TCP | ISTIO_PEER_EXCHANGE)
}
