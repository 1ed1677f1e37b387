use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;

use super::*;
use crate::authority::connection::PeerIdentity;
use crate::authority::testing::{TurnedClock, authority_at, directory};

const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";

struct Endpoint {
    authority: Arc<CertificateAuthority>,
    address: SocketAddr,
    incoming: TlsIncoming,
    _directory: tempfile::TempDir,
}

async fn endpoint(clock: Clock, settings: AcceptorSettings) -> Endpoint {
    let directory = directory();
    let authority = authority_at(&directory, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = ControlPlaneAcceptor::new(Arc::clone(&authority), settings).unwrap().incoming(listener);
    Endpoint { authority, address, incoming, _directory: directory }
}

fn client(authority: &CertificateAuthority, certified: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.trust_bundle_pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(crate::authority::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = if certified {
        let key = rcgen::KeyPair::generate().unwrap();
        let issued =
            authority.issue(&REVIEWS.parse().unwrap(), &key, Some(Duration::from_secs(3600))).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_client_auth_cert(issued.chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    endpoint: &mut Endpoint,
    connector: &TlsConnector,
) -> (tokio_rustls::client::TlsStream<TcpStream>, ServerConnection) {
    let stream = TcpStream::connect(endpoint.address).await.unwrap();
    let name = ServerName::try_from("weft-control-plane").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, stream), endpoint.incoming.next());
    (client.unwrap(), server.unwrap().unwrap())
}

fn reviews() -> Option<PeerIdentity> {
    Some(PeerIdentity(REVIEWS.parse().unwrap()))
}

#[tokio::test]
async fn a_peer_is_who_its_certificate_says_and_nobody_without_one() {
    let mut endpoint = endpoint(Clock::system(), AcceptorSettings::default()).await;
    let (with, without) = (client(&endpoint.authority, true), client(&endpoint.authority, false));
    let (_client, server) = connect(&mut endpoint, &with).await;
    assert_eq!(server.info().identity, reviews());
    let (_client, server) = connect(&mut endpoint, &without).await;
    assert_eq!(server.info().identity, None);
}

#[tokio::test]
async fn a_certificate_of_another_root_ends_the_handshake() {
    let mut endpoint = endpoint(Clock::system(), AcceptorSettings::default()).await;
    let elsewhere = directory();
    let foreign = authority_at(&elsewhere, Clock::system());
    let key = rcgen::KeyPair::generate().unwrap();
    let issued = foreign.issue(&REVIEWS.parse().unwrap(), &key, None).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(endpoint.authority.trust_bundle_pem().as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(crate::authority::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            issued.chain,
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let stream = TcpStream::connect(endpoint.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let mut buffer = [0; 1];
    let error = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap_err();
    let alert = error.to_string();
    assert!(alert.contains("UnknownCA") || alert.contains("DecryptError"), "{alert}");
    // Others are served all the same.
    let connector = client(&endpoint.authority, true);
    let (_client, server) = connect(&mut endpoint, &connector).await;
    assert_eq!(server.info().identity, reviews());
}

#[tokio::test]
async fn an_expired_certificate_is_good_for_renewal_only_and_not_for_ever() {
    let now = SystemTime::now();
    let certificates = |life: Duration| {
        let (directory, clock) = (directory(), TurnedClock::new());
        let authority = authority_at(&directory, clock.clock());
        let key = rcgen::KeyPair::generate().unwrap();
        authority.issue(&REVIEWS.parse().unwrap(), &key, Some(life)).unwrap().chain
    };
    let chain = certificates(Duration::from_secs(60));
    let at = |after: Duration| {
        let info =
            crate::authority::ConnectionInfo::of("127.0.0.1:1".parse().unwrap(), Some(&chain), now + after);
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(info);
        (
            crate::authority::peer_identity(&request).is_some(),
            crate::authority::connection::renewable_identity(&request).is_some(),
        )
    };
    const DAY: Duration = Duration::from_secs(24 * 3600);
    assert_eq!(at(Duration::ZERO), (true, true));
    assert_eq!(at(DAY), (false, true));
    assert_eq!(at(8 * DAY), (false, false));
}

#[tokio::test]
async fn one_peer_that_says_nothing_holds_up_nobody() {
    let settings =
        AcceptorSettings { max_handshakes: 8, max_handshakes_per_address: 6, ..Default::default() };
    let mut endpoint = endpoint(Clock::system(), settings).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(endpoint.address).await.unwrap());
    }
    silent[0].write_all(b"\x16\x03\x01").await.unwrap();
    let mut garbage = TcpStream::connect(endpoint.address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // It is told and closed, which makes room.
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut garbage, &mut answer).await;
    let connector = client(&endpoint.authority, true);
    let (_client, server) = connect(&mut endpoint, &connector).await;
    assert_eq!(server.info().identity, reviews());
}

#[tokio::test]
async fn an_address_with_too_many_unfinished_handshakes_is_cut_off() {
    let settings =
        AcceptorSettings { max_handshakes: 8, max_handshakes_per_address: 2, ..Default::default() };
    let endpoint = endpoint(Clock::system(), settings).await;
    let _silent = [
        TcpStream::connect(endpoint.address).await.unwrap(),
        TcpStream::connect(endpoint.address).await.unwrap(),
    ];
    let mut third = TcpStream::connect(endpoint.address).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut third, &mut answer).await;
    assert!(answer.is_empty(), "{closed:?}");
}

#[tokio::test]
async fn the_control_planes_own_certificate_is_renewed_in_place() {
    let clock = TurnedClock::new();
    let directory = directory();
    let authority = authority_at(&directory, clock.clock());
    let identity: WorkloadIdentity =
        "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane".parse().unwrap();
    let own =
        ServerCertificate::new(authority, identity.clone(), vec!["weft-control-plane".to_owned()]).unwrap();
    let first = own.certified_key();
    assert!(Arc::ptr_eq(&first, &own.certified_key()));
    clock.advance(Duration::from_secs(13 * 3600));
    let second = own.certified_key();
    let facts =
        |key: &rustls::sign::CertifiedKey| crate::authority::connection::workload_of(&key.cert[0]).unwrap();
    assert_eq!(facts(&second).0, identity);
    assert!(facts(&second).1 > facts(&first).1);
    assert!(Arc::ptr_eq(&second, &own.certified_key()), "once, not at every handshake");
    clock.set_back(Duration::from_secs(1000 * 3600));
    let third = own.certified_key();
    assert!(facts(&third).1 < facts(&first).1, "the clock was ahead: what it issued is not valid yet");
    assert!(Arc::ptr_eq(&third, &own.certified_key()));
}

#[tokio::test]
async fn a_running_endpoint_shows_its_renewed_certificate() {
    let clock = TurnedClock::new();
    let mut endpoint = endpoint(clock.clock(), AcceptorSettings::default()).await;
    let connector = client(&endpoint.authority, false);
    connect(&mut endpoint, &connector).await;
    // The client's clock stays where it is, so that it tells the new certificate from the old by its begin.
    clock.advance(Duration::from_secs(12 * 3600));
    let stream = TcpStream::connect(endpoint.address).await.unwrap();
    let name = ServerName::try_from("weft-control-plane").unwrap();
    let error = connector.connect(name, stream).await.unwrap_err().to_string();
    assert!(error.contains("not valid yet"), "the certificate is a new one: {error}");
}
