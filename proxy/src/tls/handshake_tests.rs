//! Both ends are ours, over a pair of connected streams.

use std::net::IpAddr;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::testing::{HOUR, RATINGS, REVIEWS, TestAuthority};
use super::*;
use crate::identity::Identity;

type Outcome = (Result<Connected<DuplexStream>, TlsError>, Result<Accepted<DuplexStream>, TlsError>);

async fn meet(connector: &ClientConnector, acceptor: &ServerAcceptor) -> Outcome {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = server_name(None, IpAddr::from([10, 0, 0, 1]));
    let (client, server) = tokio::join!(connector.connect(near, name), acceptor.accept(far));
    (client, server)
}

fn connector(identity: &Identity, expected: &[&str]) -> ClientConnector {
    let expected = ExpectedIdentities::of(expected.iter().map(|uri| uri.parse().unwrap()));
    ClientConnector::new(identity.clone(), expected, ApplicationProtocol::Http2)
}

#[tokio::test]
async fn each_end_learns_who_the_other_is_and_bytes_flow() {
    let authority = TestAuthority::new("Mesh");
    let acceptor = ServerAcceptor::new(authority.identity(REVIEWS));
    let connector = connector(&authority.identity(RATINGS), &[REVIEWS]);
    let (client, server) = meet(&connector, &acceptor).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!((client.peer.to_string(), server.peer.to_string()), (REVIEWS.into(), RATINGS.into()));
    assert_eq!(client.protocol, Some(ApplicationProtocol::Http2));
    assert_eq!(server.protocol, Some(ApplicationProtocol::Http2));
    let connection = client.stream.get_ref().1;
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = connection.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768, "post-quantum key exchange");
    client.stream.write_all(b"hello").await.unwrap();
    client.stream.flush().await.unwrap();
    let mut received = [0; 5];
    server.stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test]
async fn the_wrong_server_is_refused_and_both_identities_are_named() {
    let authority = TestAuthority::new("Mesh");
    let acceptor = ServerAcceptor::new(authority.identity(RATINGS));
    let (client, server) = meet(&connector(&authority.identity(REVIEWS), &[REVIEWS]), &acceptor).await;
    let error = client.unwrap_err();
    assert_eq!(
        error,
        TlsError::WrongIdentity {
            presented: RATINGS.parse().unwrap(),
            expected: ExpectedIdentities::of([REVIEWS.parse().unwrap()]),
        }
    );
    assert_eq!(error.to_string(), format!("the peer is {RATINGS}, expected {REVIEWS}"));
    assert!(matches!(server.unwrap_err(), TlsError::Refused(_)));
}

#[tokio::test]
async fn a_peer_of_another_root_or_another_trust_domain_is_refused_on_either_side() {
    let (authority, other) = (TestAuthority::new("Mesh"), TestAuthority::new("Other"));
    let ours = authority.identity(REVIEWS);
    let (client, _) = meet(&connector(&ours, &[]), &ServerAcceptor::new(other.identity(RATINGS))).await;
    assert_eq!(client.unwrap_err(), TlsError::UnknownRoot);

    let foreign = authority.identity("spiffe://elsewhere/ns/bookshop/sa/reviews");
    let (client, _) = meet(&connector(&ours, &[]), &ServerAcceptor::new(foreign.clone())).await;
    assert!(matches!(client.unwrap_err(), TlsError::ForeignTrustDomain { .. }));

    // The stranger trusts us, we do not trust the stranger.
    let leaf = other.valid_leaf(RATINGS);
    let stranger = crate::identity::WorkloadCertificate::new(
        vec![leaf.certificate.clone()],
        leaf.private_key(),
        authority.bundle(),
    );
    let stranger = Identity::fixed(stranger.unwrap());
    let (_, server) = meet(&connector(&stranger, &[]), &ServerAcceptor::new(ours)).await;
    assert_eq!(server.unwrap_err(), TlsError::UnknownRoot);
}

#[tokio::test]
async fn an_expired_peer_is_refused_with_the_time() {
    let authority = TestAuthority::new("Mesh");
    let ours = authority.identity(REVIEWS);
    let expired = Identity::fixed(authority.certificate(&authority.expired_leaf(RATINGS)));
    let (client, _) = meet(&connector(&ours, &[]), &ServerAcceptor::new(expired.clone())).await;
    let error = client.unwrap_err();
    assert!(matches!(error, TlsError::Expired { at: Some(_), .. }), "{error:?}");
    let (_, server) = meet(&connector(&expired, &[]), &ServerAcceptor::new(ours.clone())).await;
    assert!(matches!(server.unwrap_err(), TlsError::Expired { .. }));

    let leaf = authority.leaf(&[RATINGS], SystemTime::now() + HOUR, SystemTime::now() + 2 * HOUR);
    let early = Identity::fixed(authority.certificate(&leaf));
    let (client, _) = meet(&connector(&ours, &[]), &ServerAcceptor::new(early)).await;
    assert!(matches!(client.unwrap_err(), TlsError::NotYetValid { .. }));
}

#[tokio::test]
async fn a_session_is_resumed_with_its_identity_and_never_past_a_renewal() {
    let authority = TestAuthority::new("Mesh");
    let (reviews, ratings) = (authority.identity(REVIEWS), authority.identity(RATINGS));
    let acceptor = ServerAcceptor::new(reviews.clone());
    let connector = connector(&ratings, &[REVIEWS]);
    let kind = async || {
        let (client, server) = meet(&connector, &acceptor).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        assert_eq!((client.peer.to_string(), server.peer.to_string()), (REVIEWS.into(), RATINGS.into()));
        // The ticket travels with the first bytes.
        server.stream.write_all(b"x").await.unwrap();
        server.stream.flush().await.unwrap();
        client.stream.read_exact(&mut [0]).await.unwrap();
        client.stream.get_ref().1.handshake_kind().unwrap()
    };
    assert_eq!(kind().await, rustls::HandshakeKind::Full);
    assert_eq!(kind().await, rustls::HandshakeKind::Resumed);
    reviews.replace(authority.certificate(&authority.valid_leaf(REVIEWS)));
    assert_ne!(kind().await, rustls::HandshakeKind::Resumed);
    assert_eq!(kind().await, rustls::HandshakeKind::Resumed);
    ratings.replace(authority.certificate(&authority.valid_leaf(RATINGS)));
    assert_ne!(kind().await, rustls::HandshakeKind::Resumed);
}

#[tokio::test]
async fn configurations_are_built_once_per_certificate() {
    let authority = TestAuthority::new("Mesh");
    let identity = authority.identity(REVIEWS);
    let (acceptor, connector) = (ServerAcceptor::new(identity.clone()), connector(&identity, &[]));
    let (server, client) = (acceptor.config().unwrap(), connector.config().unwrap());
    assert!(std::sync::Arc::ptr_eq(&server, &acceptor.config().unwrap()));
    assert!(std::sync::Arc::ptr_eq(&client, &connector.config().unwrap()));
    identity.replace(authority.certificate(&authority.valid_leaf(REVIEWS)));
    assert!(!std::sync::Arc::ptr_eq(&server, &acceptor.config().unwrap()));
    assert!(!std::sync::Arc::ptr_eq(&client, &connector.config().unwrap()));
}

#[tokio::test]
async fn plain_bytes_are_no_handshake() {
    let authority = TestAuthority::new("Mesh");
    let acceptor = ServerAcceptor::new(authority.identity(REVIEWS));
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(b"GET / HTTP/1.1\r\nHost: reviews\r\n\r\n").await.unwrap();
    assert!(matches!(acceptor.accept(far).await.unwrap_err(), TlsError::Protocol(_)));
}

#[test]
fn many_expected_identities_stay_readable() {
    let expected = ExpectedIdentities::of(
        (0..5).map(|number| format!("spiffe://cluster.local/ns/a/sa/s{number}").parse().unwrap()),
    );
    assert!(expected.to_string().ends_with("sa/s2 or 2 more"), "{expected}");
}

/// The peer's end is looked at again for each connection, resumed ones included.
#[tokio::test]
async fn an_identity_is_not_believed_past_the_end_of_its_certificate() {
    let authority = TestAuthority::new("Mesh");
    let acceptor = ServerAcceptor::new(authority.identity(REVIEWS));
    let (client, server) = meet(&connector(&authority.identity(RATINGS), &[]), &acceptor).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    let late = SystemTime::now() + 2 * HOUR;
    for error in [
        verify::peer_identity(client.stream.get_ref().1, late).unwrap_err(),
        verify::peer_identity(server.stream.get_ref().1, late).unwrap_err(),
    ] {
        assert!(matches!(error, TlsError::Expired { presented: Some(_), at: Some(_) }), "{error:?}");
    }
}

#[tokio::test]
async fn pain_18_workloads_of_an_old_and_a_new_root_meet_while_both_are_trusted() {
    let (old, new) = (TestAuthority::new("Old"), TestAuthority::new("New"));
    let both = old.bundle().with([new.root.clone()]).unwrap();
    let identity = |authority: &TestAuthority, uri: &str| {
        let leaf = authority.valid_leaf(uri);
        let chain = vec![leaf.certificate.clone()];
        let certificate =
            crate::identity::WorkloadCertificate::new(chain, leaf.private_key(), both.clone()).unwrap();
        Identity::fixed(certificate)
    };
    let (reviews, ratings) = (identity(&old, REVIEWS), identity(&new, RATINGS));
    for (client, server, name) in [(&reviews, &ratings, RATINGS), (&ratings, &reviews, REVIEWS)] {
        let (connected, accepted) =
            meet(&connector(client, &[name]), &ServerAcceptor::new(server.clone())).await;
        assert_eq!(connected.unwrap().peer.to_string(), name);
        accepted.unwrap();
    }
}

#[tokio::test]
async fn a_connection_outlives_the_certificate_it_was_made_with() {
    let authority = TestAuthority::new("Mesh");
    let identity = authority.identity(REVIEWS);
    let acceptor = ServerAcceptor::new(identity.clone());
    let (client, server) = meet(&connector(&authority.identity(RATINGS), &[]), &acceptor).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    identity.replace(authority.certificate(&authority.valid_leaf(REVIEWS)));
    client.stream.write_all(b"still here").await.unwrap();
    client.stream.flush().await.unwrap();
    let mut received = [0; 10];
    server.stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"still here");
}
