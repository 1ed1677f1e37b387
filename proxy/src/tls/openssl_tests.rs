//! The other end is OpenSSL: what it presents and what it sees is not of our making.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::testing::{Leaf, RATINGS, REVIEWS, TestAuthority};
use super::*;

/// Far more than anything here takes; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

fn files(authority: &TestAuthority, leaf: &Leaf) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::File::create(directory.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write("leaf.pem", &leaf.certificate_pem);
    write("key.pem", &leaf.key.serialize_pem());
    write("roots.pem", &authority.bundle().to_pem());
    directory
}

fn openssl(arguments: &[&str], directory: &TempDir) -> Child {
    Command::new("openssl")
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// OpenSSL calls our server; what our server says of it.
async fn called_by(
    authority: &TestAuthority,
    arguments: &[&str],
    leaf: &Leaf,
) -> Result<Accepted<TcpStream>, TlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let files = files(authority, leaf);
    let mut all = vec!["s_client", "-connect", &address, "-CAfile", "roots.pem", "-verify_return_error"];
    all.extend(arguments);
    let mut child = openssl(&all, &files);
    let acceptor = ServerAcceptor::new(authority.identity(REVIEWS));
    let outcome = tokio::time::timeout(DEADLINE, async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await
    })
    .await
    .unwrap();
    child.kill().await.unwrap();
    outcome
}

const WITH_CERTIFICATE: [&str; 4] = ["-cert", "leaf.pem", "-key", "key.pem"];

#[tokio::test]
async fn openssl_with_a_certificate_of_the_mesh_is_let_in() {
    let authority = TestAuthority::new("Mesh");
    let leaf = authority.valid_leaf(RATINGS);
    for (version, alpn, protocol) in [
        ("-tls1_3", "istio-http/1.1,istio,http/1.1", Some(ApplicationProtocol::Http1)),
        ("-tls1_2", "istio-peer-exchange,istio", Some(ApplicationProtocol::Tcp)),
    ] {
        let arguments = [&WITH_CERTIFICATE[..], &[version, "-alpn", alpn]].concat();
        let accepted = called_by(&authority, &arguments, &leaf).await.unwrap();
        assert_eq!((accepted.peer.to_string(), accepted.protocol), (RATINGS.to_owned(), protocol));
    }
}

#[tokio::test]
async fn openssl_without_a_certificate_is_refused() {
    let authority = TestAuthority::new("Mesh");
    let leaf = authority.valid_leaf(RATINGS);
    for version in ["-tls1_3", "-tls1_2"] {
        let error = called_by(&authority, &[version], &leaf).await.unwrap_err();
        assert_eq!(error, TlsError::NoPeerCertificate);
    }
}

#[tokio::test]
async fn openssl_with_an_expired_foreign_or_nameless_certificate_is_refused() {
    let (authority, other) = (TestAuthority::new("Mesh"), TestAuthority::new("Other"));
    let called = async |leaf: &Leaf| called_by(&authority, &WITH_CERTIFICATE, leaf).await.unwrap_err();
    assert!(matches!(called(&authority.expired_leaf(RATINGS)).await, TlsError::Expired { .. }));
    assert_eq!(called(&other.valid_leaf(RATINGS)).await, TlsError::UnknownRoot);
    let now = std::time::SystemTime::now();
    let (begin, end) = (now - super::testing::HOUR, now + super::testing::HOUR);
    let two = authority.leaf(&[RATINGS, REVIEWS], begin, end);
    assert!(matches!(called(&two).await, TlsError::NotSpiffe(_)));
    assert!(matches!(
        called(&authority.leaf(&["https://bank.example"], begin, end)).await,
        TlsError::NotSpiffe(_)
    ));
}

/// Our client calls OpenSSL.
async fn calling(
    authority: &TestAuthority,
    leaf: &Leaf,
    arguments: &[&str],
) -> (Result<Connected<TcpStream>, TlsError>, Child, TempDir) {
    let files = files(authority, leaf);
    let mut all = vec![
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        "leaf.pem",
        "-key",
        "key.pem",
        "-CAfile",
        "roots.pem",
        "-alpn",
        "h2",
    ];
    all.extend(arguments);
    let mut child = openssl(&all, &files);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(DEADLINE, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("openssl says where it listens");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                return address.to_owned();
            }
        }
    })
    .await
    .unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let expected = ExpectedIdentities::of([REVIEWS.parse().unwrap()]);
    let connector = ClientConnector::new(authority.identity(RATINGS), expected, ApplicationProtocol::Http2);
    let stream = TcpStream::connect(address).await.unwrap();
    let name = server_name(None, IpAddr::from([127, 0, 0, 1]));
    let outcome = tokio::time::timeout(DEADLINE, connector.connect(stream, name)).await.unwrap();
    (outcome, child, files)
}

#[tokio::test]
async fn openssl_as_the_expected_server_is_trusted_and_trusts_us() {
    let authority = TestAuthority::new("Mesh");
    let leaf = authority.valid_leaf(REVIEWS);
    for version in ["-tls1_3", "-tls1_2"] {
        let arguments = ["-Verify", "3", "-verify_return_error", "-rev", version];
        let (outcome, _child, _files) = calling(&authority, &leaf, &arguments).await;
        let mut connected = outcome.unwrap();
        assert_eq!(connected.peer.to_string(), REVIEWS);
        assert_eq!(connected.protocol, Some(ApplicationProtocol::Http2));
        // `-rev` answers with the line reversed, which it does only for a client it has verified.
        connected.stream.write_all(b"hello\n").await.unwrap();
        let mut answer = [0; 6];
        tokio::time::timeout(DEADLINE, connected.stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"olleh\n");
    }
}

#[tokio::test]
async fn openssl_as_another_workload_or_expired_or_of_another_root_is_refused() {
    let (authority, other) = (TestAuthority::new("Mesh"), TestAuthority::new("Other"));
    let called = async |leaf: &Leaf| calling(&authority, leaf, &[]).await.0.unwrap_err();
    let error = called(&authority.valid_leaf(RATINGS)).await.to_string();
    assert!(error.contains(RATINGS) && error.contains(REVIEWS), "{error}");
    assert!(matches!(called(&authority.expired_leaf(REVIEWS)).await, TlsError::Expired { .. }));
    assert_eq!(called(&other.valid_leaf(REVIEWS)).await, TlsError::UnknownRoot);
}
