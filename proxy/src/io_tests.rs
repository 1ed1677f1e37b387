use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

/// The two ends of a TLS connection over loopback.
pub(crate) async fn tls_pair() -> (Io, Io) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(signed.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (connecting, accepted) = pair().await;
    let (client, server) = tokio::join!(
        tokio_rustls::TlsConnector::from(Arc::new(client))
            .connect(ServerName::try_from("localhost").unwrap(), connecting),
        tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(accepted),
    );
    (client.unwrap().into(), server.unwrap().into())
}

#[tokio::test]
async fn bytes_put_in_front_are_read_first() {
    let (mut client, server) = pair().await;
    client.write_all(b" third").await.unwrap();
    client.shutdown().await.unwrap();
    let mut io = Io::from(server).with_prefix("second").with_prefix("first ");
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "first second third");
}

#[tokio::test]
async fn both_ends_of_tls_read_write_and_tell_an_end_from_a_cut() {
    let (mut client, mut server) = tls_pair().await;
    assert!(client.tls().is_some_and(|tls| tls.peer_certificates().is_some()));
    assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
    let parts = [io::IoSlice::new(b"one "), io::IoSlice::new(b"two")];
    let n = client.write_vectored(&parts).await.unwrap();
    assert_eq!(n, 7);
    client.flush().await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    // Without close_notify this would be an unexpected end.
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "one two");

    let (client, mut server) = tls_pair().await;
    client.abort();
    assert!(server.read_to_string(&mut text).await.is_err());
}

#[tokio::test]
async fn an_abort_reaches_the_other_end_as_a_reset() {
    let (mut client, server) = pair().await;
    Io::from(server).abort();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_tls_has_decrypted_can_be_read_though_the_socket_is_empty() {
    let (mut client, mut server) = tls_pair().await;
    let mut noop = Context::from_waker(std::task::Waker::noop());
    client.write_all(b"twelve bytes").await.unwrap();
    client.flush().await.unwrap();
    std::future::poll_fn(|cx| server.poll_readable(cx)).await;
    let mut some = [0; 4];
    server.read_exact(&mut some).await.unwrap();
    assert!(server.poll_readable(&mut noop).is_ready(), "eight bytes are left");
    let mut rest = [0; 8];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!([&some[..], &rest[..]].concat(), b"twelve bytes");
    // A socket may be held for readable until a read finds that it is not.
    let mut buffer = [0; 8];
    let mut buffer = ReadBuf::new(&mut buffer);
    assert!(Pin::new(&mut server).poll_read(&mut noop, &mut buffer).is_pending());
    assert!(server.poll_readable(&mut noop).is_pending());
    client.shutdown().await.unwrap();
    std::future::poll_fn(|cx| server.poll_readable(cx)).await;
    assert_eq!(server.read(&mut some).await.unwrap(), 0);
}
