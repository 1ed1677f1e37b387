use std::path::Path;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_model::matcher::StringMatch;
use weft_model::tls::{
    CertificateSource, DataSource, NameKind, NameMatch, TlsContext, TlsVersions, TrustSource, Validation,
};

use super::super::testing::{HOUR, Leaf, RATINGS, REVIEWS, TestAuthority};
use super::*;

fn leaf(authority: &TestAuthority, name: &str) -> Leaf {
    let now = SystemTime::now();
    authority.leaf(&[name], now - HOUR, now + HOUR)
}

fn pem(leaf: &Leaf) -> CertificateSource {
    CertificateSource::Pem { chain: inline(&leaf.certificate_pem), key: inline(&leaf.key.serialize_pem()) }
}

fn inline(text: &str) -> DataSource {
    DataSource::Inline(text.as_bytes().into())
}

fn trust(authority: &TestAuthority, name: &str) -> Option<Validation> {
    Some(Validation {
        trusted: vec![TrustSource::Pem(inline(&authority.bundle().to_pem()))],
        names: vec![NameMatch { kind: NameKind::Uri, value: StringMatch::exact(name) }],
    })
}

fn server_of(certificates: Vec<CertificateSource>, validation: Option<Validation>) -> Arc<ServerContext> {
    let require_client_certificate = validation.is_some();
    let tls = TlsContext { certificates, validation, ..TlsContext::default() };
    Arc::new(ServerContext { tls, require_client_certificate, resumption: true })
}

fn client_of(certificates: Vec<CertificateSource>, validation: Option<Validation>) -> Arc<ClientContext> {
    let tls = TlsContext { certificates, validation, ..TlsContext::default() };
    Arc::new(ClientContext { tls, sni: "reviews".into(), resumption: false })
}

/// Who each side says that the other is: an error when a byte does not come through.
async fn meet(
    contexts: &TlsContexts,
    server: &Arc<ServerContext>,
    client: &Arc<ClientContext>,
) -> Result<(Option<String>, Option<String>), TlsError> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let mut accepted = contexts.accept(server, near).await?;
        accepted.stream.write_all(b"x").await.map_err(|error| TlsError::of_handshake(&error))?;
        accepted.stream.flush().await.map_err(|error| TlsError::of_handshake(&error))?;
        Ok::<_, TlsError>(accepted.peer.map(|peer| peer.to_string()))
    };
    let connect = async {
        let name = ServerName::try_from("reviews").unwrap();
        let (mut stream, peer) = contexts.connect(client, name, far).await?;
        stream.read_u8().await.map_err(|error| TlsError::of_handshake(&error))?;
        Ok::<_, TlsError>(peer.map(|peer| peer.to_string()))
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    Ok((accepted?, connected?))
}

#[tokio::test]
async fn both_sides_prove_who_they_are_by_the_users_certificates() {
    let authority = TestAuthority::new("root");
    let server = server_of(vec![pem(&leaf(&authority, REVIEWS))], trust(&authority, RATINGS));
    let client = client_of(vec![pem(&leaf(&authority, RATINGS))], trust(&authority, REVIEWS));
    let contexts = TlsContexts::default();
    let met = meet(&contexts, &server, &client).await;
    assert_eq!(met, Ok((Some(RATINGS.to_owned()), Some(REVIEWS.to_owned()))));

    let wrong =
        client_of(vec![pem(&leaf(&authority, RATINGS))], trust(&authority, "spiffe://cluster.local/other"));
    let error = meet(&contexts, &server, &wrong).await.unwrap_err();
    assert!(matches!(error, TlsError::WrongName { .. } | TlsError::Refused(_)), "{error}");
    let stranger = client_of(vec![pem(&leaf(&TestAuthority::new("other"), RATINGS))], None);
    meet(&contexts, &server, &stranger).await.unwrap_err();
    let nobody = client_of(Vec::new(), None);
    meet(&contexts, &server, &nobody).await.unwrap_err();
}

#[tokio::test]
async fn without_validation_anyone_will_do_and_nobody_is_vouched_for() {
    let authority = TestAuthority::new("root");
    let server = server_of(vec![pem(&leaf(&authority, REVIEWS))], None);
    let contexts = TlsContexts::default();
    assert_eq!(meet(&contexts, &server, &client_of(Vec::new(), None)).await, Ok((None, None)));
    let old = Arc::new(ClientContext {
        tls: TlsContext { versions: TlsVersions::Tls12, ..TlsContext::default() },
        sni: "reviews".into(),
        resumption: true,
    });
    assert_eq!(meet(&contexts, &server, &old).await, Ok((None, None)));
}

fn write_secret(path: &Path, leaf: &Leaf) {
    let secret = serde_json::json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "mine",
        "tls_certificate": {
            "certificate_chain": {"inline_string": leaf.certificate_pem},
            "private_key": {"inline_string": leaf.key.serialize_pem()},
        },
    }]});
    std::fs::write(path, secret.to_string()).unwrap();
}

#[tokio::test]
async fn a_file_of_secrets_is_read_again_and_what_is_broken_leaves_the_former() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets.json");
    let authority = TestAuthority::new("root");
    write_secret(&path, &leaf(&authority, REVIEWS));
    let file = SecretFile { name: "mine".into(), path: path.clone() };
    let server = server_of(vec![CertificateSource::Secret(file.clone())], None);
    let any = Some(Validation {
        trusted: vec![TrustSource::Pem(inline(&authority.bundle().to_pem()))],
        names: Vec::new(),
    });
    let client = client_of(Vec::new(), any);
    let contexts = TlsContexts::default();
    let who = async || meet(&contexts, &server, &client).await.unwrap().1.unwrap();
    assert_eq!(who().await, REVIEWS);
    assert_eq!(contexts.secret_files(), [file]);

    write_secret(&path, &leaf(&authority, RATINGS));
    assert_eq!(who().await, REVIEWS, "nobody has said yet that it changed");
    contexts.reload(|_| true);
    assert_eq!(who().await, RATINGS);

    std::fs::write(&path, "resources: [{}]").unwrap();
    contexts.reload(|_| true);
    assert_eq!(who().await, RATINGS, "the former stays");
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let authority = TestAuthority::new("root");
    let (one, other) = (leaf(&authority, REVIEWS), leaf(&authority, RATINGS));
    let contexts = TlsContexts::default();
    let told =
        |source: CertificateSource| contexts.server(&server_of(vec![source], None)).unwrap_err().to_string();
    let missing = DataSource::File("/nowhere/chain.pem".into());
    let key = inline(&one.key.serialize_pem());
    let said = told(CertificateSource::Pem { chain: missing, key: key.clone() });
    assert!(said.starts_with("/nowhere/chain.pem: No such file"), "{said}");
    let said = told(CertificateSource::Pem { chain: inline(&other.certificate_pem), key });
    assert_eq!(said, "the configuration: is not the key of the certificate in the configuration");
    let said = told(CertificateSource::Pem { chain: inline("nothing"), key: inline("nothing") });
    assert_eq!(said, "the configuration: has no certificate");
}
