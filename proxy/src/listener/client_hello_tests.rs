use std::sync::Arc;

use super::*;

/// The first bytes that rustls sends.
pub(crate) fn hello_of(server_name: &str, protocols: &[&str]) -> Vec<u8> {
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = rustls_pki_types::ServerName::try_from(server_name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_real_hello_is_understood_whatever_the_split_of_its_bytes() {
    let bytes = hello_of("Reviews.Example", &["istio-http/1.1", "h2"]);
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Parsed::Partial, "{end} bytes");
    }
    let expected = ClientHello {
        server_name: Some("reviews.example".into()),
        application_protocols: vec!["istio-http/1.1".into(), "h2".into()],
    };
    assert_eq!(parse(&bytes), Parsed::Complete(expected.clone()));
    assert_eq!(parse(&[&bytes[..], b"more"].concat()), Parsed::Complete(expected));
}

#[test]
fn a_hello_that_is_spread_over_records_is_put_together() {
    let whole = hello_of("a.example", &["istio"]);
    let content = &whole[5..];
    let mut spread = Vec::new();
    for part in content.chunks(100) {
        spread.extend_from_slice(&[HANDSHAKE, 3, 1]);
        spread.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
        spread.extend_from_slice(part);
    }
    for end in 0..spread.len() {
        assert_eq!(parse(&spread[..end]), Parsed::Partial, "{end} bytes");
    }
    assert_eq!(parse(&spread), parse(&whole));
}

#[test]
fn an_address_as_name_gives_no_server_name() {
    assert!(
        matches!(parse(&hello_of("127.0.0.1", &[])), Parsed::Complete(hello) if hello == ClientHello::default())
    );
}

#[test]
fn other_protocols_are_no_tls() {
    for first in
        [&b"GET / HTTP/1.1"[..], b"SSH-2.0", b"\x00", b"\x16\x02", b"\x16\x03\x01\x00\x00", b"\x15\x03\x01"]
    {
        assert_eq!(parse(first), Parsed::NotTls, "{first:?}");
    }
}

#[test]
fn a_malformed_hello_is_tls_of_which_nothing_is_known() {
    let mut bytes = hello_of("a.example", &["h2"]);
    bytes[5 + 4 + 2 + 32] = 255; // the session's length
    let end = bytes.len();
    bytes[end - 1] = 0;
    assert_eq!(parse(&bytes), Parsed::Malformed);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), flip in 0_usize..600) {
        let _ = parse(&bytes);
        let mut hello = hello_of("a.example", &["h2"]);
        let at = flip % hello.len();
        hello[at] ^= bytes.first().copied().unwrap_or(1);
        let _ = parse(&hello);
        bytes.splice(0..0, [HANDSHAKE, 3, 1]);
        let _ = parse(&bytes);
    }
}
