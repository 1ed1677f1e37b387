use super::*;

#[test]
fn every_offer_is_known_to_come_from_the_mesh_and_is_accepted_by_our_server() {
    for protocol in [ApplicationProtocol::Http1, ApplicationProtocol::Http2, ApplicationProtocol::Tcp] {
        let offer = offered_alpn(protocol);
        assert!(offer.iter().any(|name| is_mesh_alpn(name)));
        // The server picks by its own order, as rustls does.
        let selected = accepted_alpn().into_iter().find(|name| offer.contains(name)).unwrap();
        assert_eq!(application_protocol(Some(&selected)), Some(protocol));
    }
}

#[test]
fn an_applications_own_tls_is_not_taken_for_the_mesh() {
    assert!(!is_mesh_alpn(b"h2") && !is_mesh_alpn(b"http/1.1") && !is_mesh_alpn(b""));
}

#[test]
fn the_metadata_exchange_is_never_selected() {
    assert!(!accepted_alpn().contains(&ISTIO_PEER_EXCHANGE.to_vec()));
    assert_eq!(application_protocol(Some(ISTIO_PEER_EXCHANGE)), None);
    assert_eq!(application_protocol(None), None);
}
