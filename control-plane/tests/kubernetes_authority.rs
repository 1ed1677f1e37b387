//! The real control plane at a real API server: who gets a certificate, and which of several replicas leads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "shared by several tests")]

mod cluster;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster::{Cluster, Relay, until};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use weft_proto::istio::ca::IstioCertificateRequest;
use weft_proto::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Connects to a control plane as a sidecar does that has no certificate yet.
#[derive(Clone)]
struct Sidecar {
    address: SocketAddr,
    name: String,
    tls: tokio_rustls::TlsConnector,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

impl tonic::codegen::Service<http::Uri> for Sidecar {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Connecting {
        let Self { address, name, tls } = self.clone();
        Box::pin(async move {
            let name = ServerName::try_from(name).unwrap();
            Ok(TokioIo::new(tls.connect(name, TcpStream::connect(address).await?).await?))
        })
    }
}

impl Sidecar {
    /// Trusts what is published in its namespace.
    async fn of(cluster: &Cluster, address: SocketAddr) -> Self {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        until("the root is published", async || {
            maps.get_opt("weft-ca-root-cert").await.is_ok_and(|map| map.is_some())
        })
        .await;
        let map = maps.get("weft-ca-root-cert").await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(map.data.unwrap()["root-cert.pem"].as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = format!("weft-control-plane.{}.svc", cluster.namespace);
        Self { address, name, tls: Arc::new(config).into() }
    }

    /// The names in the certificate that a token gets.
    async fn certificate(&self, token: &str) -> Result<Vec<String>, Status> {
        let channel =
            Endpoint::from_static("http://control-plane").connect_with_connector(self.clone()).await.unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let mut request = Request::new(IstioCertificateRequest { csr, ..Default::default() });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let chain = IstioCertificateServiceClient::new(channel)
            .create_certificate(request)
            .await?
            .into_inner()
            .cert_chain;
        let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        Ok(names
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None })
            .collect())
    }
}

async fn token(cluster: &Cluster, audience: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let spec = TokenRequestSpec { audiences: vec![audience.to_owned()], ..Default::default() };
    let request = TokenRequest { spec, ..Default::default() };
    accounts
        .create_token_request("web", &PostParams::default(), &request)
        .await
        .unwrap()
        .status
        .unwrap()
        .token
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn a_token_of_a_service_account_becomes_a_certificate_of_it_and_other_tokens_do_not() {
    let cluster = Cluster::new().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
    cluster.apply("serviceaccounts", account).await;
    let relay = Relay::to(cluster.server()).await;
    let plane = cluster.control_plane(Some(&cluster.kubeconfig_over(&relay).await), &[]).await;
    let sidecar = Sidecar::of(&cluster, plane.tls).await;
    let good = token(&cluster, "weft-ca").await;
    let identity = format!("spiffe://cluster.local/ns/{}/sa/web", cluster.namespace);
    assert_eq!(sidecar.certificate(&good).await.unwrap(), [identity]);
    let other = token(&cluster, "https://kubernetes.default.svc.cluster.local").await;
    assert_eq!(sidecar.certificate(&other).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(sidecar.certificate("nonsense").await.unwrap_err().code(), Code::Unauthenticated);
    relay.cut();
    let away = sidecar.certificate(&good).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
    relay.mend();
    until("it works again", async || sidecar.certificate(&good).await.is_ok()).await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn replicas_share_one_root_and_follow_a_new_one() {
    let cluster = Cluster::new().await;
    let (one, other) = tokio::join!(cluster.control_plane(None, &[]), cluster.control_plane(None, &[]));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
    cluster.apply("serviceaccounts", account).await;
    let first = Sidecar::of(&cluster, one.tls).await;
    let second = Sidecar { address: other.tls, ..first.clone() };
    let token = token(&cluster, "weft-ca").await;
    first.certificate(&token).await.unwrap();
    second.certificate(&token).await.unwrap();
    // The root is taken away from the control planes, and replaced by that of another mesh.
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let elsewhere = Cluster::new().await;
    drop(elsewhere.control_plane(None, &[]).await);
    let others: Api<Secret> = Api::namespaced(cluster.client.clone(), &elsewhere.namespace);
    let fresh = others.get("weft-ca").await.unwrap();
    let mut secret = secrets.get("weft-ca").await.unwrap();
    secret.data = fresh.data;
    secrets.replace("weft-ca", &PostParams::default(), &secret).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let roots = async || {
        let map = maps.get("weft-ca-root-cert").await.unwrap();
        map.data.unwrap()["root-cert.pem"].matches("BEGIN CERTIFICATE").count()
    };
    until("both roots are published", async || roots().await == 2).await;
    let now = Sidecar::of(&cluster, one.tls).await;
    until("every replica shows a certificate of the new root", async || {
        now.certificate(&token).await.is_ok()
            && Sidecar { address: other.tls, ..now.clone() }.certificate(&token).await.is_ok()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: make test-kubernetes"]
async fn of_two_replicas_one_leads_and_the_other_takes_over() {
    let cluster = Cluster::new().await;
    let mut first = cluster.control_plane(None, &["--pod-name", "first"]).await;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let led_by = async |name: &str| {
        let lease = leases.get_opt("weft-control-plane").await.ok().flatten();
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        holder.starts_with(name)
    };
    until("the first leads", async || led_by("first_").await).await;
    let mut second = cluster.control_plane(None, &["--pod-name", "second"]).await;
    assert!(led_by("first_").await, "who leads goes on leading");
    first.kill();
    until("the second leads when the first's lease has run out", async || led_by("second_").await).await;
    let third = cluster.control_plane(None, &["--pod-name", "third"]).await;
    second.terminate();
    let began = std::time::Instant::now();
    until("the third leads at once", async || led_by("third_").await).await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(8),
        "a lease that was given back need not run out"
    );
    drop(third);
}
