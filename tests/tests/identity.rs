//! Identity end to end, both halves real: a control plane's certificate authority on its TLS endpoint, sidecars that
//! join, renew and call each other.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it did not expect")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weft_control_plane::authority::{
    AcceptorSettings, Attestor, AuthoritySettings, CertificateAuthority, CertificateService,
    ControlPlaneAcceptor, JoinTokens, RateLimit, Workload, peer_identity,
};
use weft_model::clock::Clock;
use weft_model::identity::TrustDomain;
use weft_proxy::identity::{
    ControlPlane, Identity, IdentitySettings, JoinToken, TokenSource, WorkloadCertificate, channel, renew,
};
use weft_proxy::tls::{
    ApplicationProtocol, ClientConnector, ExpectedIdentities, ServerAcceptor, TlsError, server_name,
};

/// Far more than anything here takes; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A clock that the test turns, shown to both halves.
#[derive(Clone)]
struct Wall(Arc<Mutex<Duration>>);

impl Wall {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || SystemTime::now() + *ahead.lock().unwrap())
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

struct Mesh {
    directory: TempDir,
    wall: Wall,
    address: SocketAddr,
    tokens: Arc<JoinTokens>,
    server: JoinHandle<()>,
}

impl Mesh {
    async fn start() -> Self {
        let (directory, wall) = (tempfile::tempdir().unwrap(), Wall::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tokens, server) = serve(directory.path(), &wall, listener);
        Self { directory, wall, address, tokens, server }
    }

    /// As after `kill -9`: nothing is told to anybody, and what is not on disk is gone.
    async fn restart(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        // The old listener's socket is closed by a task of its own.
        let rebound = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let listener = tokio::time::timeout(DEADLINE, rebound).await.expect("the port is free again");
        (self.tokens, self.server) = serve(self.directory.path(), &self.wall, listener);
    }

    fn workload(&self, account: &str) -> IdentitySettings {
        let workload = Workload { namespace: "bookshop".into(), service_account: account.into(), name: None };
        let token = self.tokens.issue(&workload, Duration::from_secs(600)).unwrap().token;
        IdentitySettings {
            identity: format!("spiffe://cluster.local/ns/bookshop/sa/{account}").parse().unwrap(),
            workload: Some(format!("{account}-v1")),
            control_plane: ControlPlane::at(self.address.to_string()),
            state_dir: self.directory.path().join(account),
            trust_bundle: self.directory.path().join("bundle.pem"),
            token: TokenSource::Token(JoinToken::parse(token.reveal()).unwrap()),
            lifetime: None,
        }
    }

    fn join(&self, settings: &IdentitySettings) -> Sidecar {
        let identity = Identity::open(settings, &self.wall.clock()).unwrap();
        let renewal = tokio::spawn(renew(identity.clone(), settings.clone(), self.wall.clock()));
        Sidecar { identity, renewal }
    }
}

fn serve(directory: &Path, wall: &Wall, listener: TcpListener) -> (Arc<JoinTokens>, JoinHandle<()>) {
    let settings = AuthoritySettings::new(directory, TrustDomain::default());
    let authority = CertificateAuthority::open(settings, wall.clock()).unwrap();
    std::fs::write(directory.join("bundle.pem"), authority.trust_bundle_pem()).unwrap();
    let tokens = JoinTokens::open(directory, wall.clock()).unwrap();
    let attestor = Attestor::JoinTokens(Arc::clone(&tokens));
    let service = CertificateService::new(Arc::clone(&authority), attestor, RateLimit::default());
    let incoming =
        ControlPlaneAcceptor::new(authority, AcceptorSettings::default()).unwrap().incoming(listener);
    let server = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(service.into_server())
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    (tokens, server)
}

struct Sidecar {
    identity: Identity,
    renewal: JoinHandle<()>,
}

impl Sidecar {
    async fn ready(&self) -> Arc<WorkloadCertificate> {
        tokio::time::timeout(DEADLINE, self.identity.ready()).await.expect("a certificate")
    }

    async fn after(&self, old: &WorkloadCertificate) -> Arc<WorkloadCertificate> {
        let mut changes = self.identity.subscribe();
        let changed = changes
            .wait_for(|now| now.as_ref().is_some_and(|certificate| certificate.serial() != old.serial()));
        let certificate = tokio::time::timeout(DEADLINE, changed).await.expect("a renewal").unwrap();
        certificate.clone().unwrap()
    }

    async fn failed(&self, times: u64) -> String {
        let failure = async {
            loop {
                let status = self.identity.status();
                match status.last_error {
                    Some(error) if status.failures >= times => return error,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(DEADLINE, failure).await.expect("a failure")
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// One mutual TLS connection over loopback; what each end says of the other.
async fn call(client: &Identity, server: &Identity, expected: &str) -> Result<(String, String), TlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = ServerAcceptor::new(server.clone());
    let expected = ExpectedIdentities::of([expected.parse().unwrap()]);
    let connector = ClientConnector::new(client.clone(), expected, ApplicationProtocol::Http1);
    let (connected, accepted) = tokio::join!(
        async {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect(stream, server_name(None, IpAddr::from([127, 0, 0, 1]))).await
        },
        async { acceptor.accept(listener.accept().await.unwrap().0).await }
    );
    Ok((connected?.peer.to_string(), accepted?.peer.to_string()))
}

const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";
const RATINGS: &str = "spiffe://cluster.local/ns/bookshop/sa/ratings";

#[tokio::test]
async fn two_workloads_that_joined_know_each_other_by_name() {
    let mesh = Mesh::start().await;
    let reviews = mesh.join(&mesh.workload("reviews"));
    let ratings = mesh.join(&mesh.workload("ratings"));
    assert_eq!(reviews.ready().await.identity().to_string(), REVIEWS);
    ratings.ready().await;
    let met = call(&reviews.identity, &ratings.identity, RATINGS).await.unwrap();
    assert_eq!(met, (RATINGS.to_owned(), REVIEWS.to_owned()));
    let error = call(&reviews.identity, &ratings.identity, REVIEWS).await.unwrap_err();
    assert!(error.to_string().contains(RATINGS) && error.to_string().contains(REVIEWS), "{error}");
}

#[tokio::test]
async fn a_certificate_is_renewed_half_way_with_a_new_key_and_without_a_token() {
    let mesh = Mesh::start().await;
    // Short enough that the sidecar's look at the clock is the remaining time, not the usual interval.
    let settings = IdentitySettings { lifetime: Some(Duration::from_secs(4)), ..mesh.workload("reviews") };
    let sidecar = mesh.join(&settings);
    let first = sidecar.ready().await;
    let stored = std::fs::read_to_string(settings.state_dir.join("identity/identity.pem")).unwrap();
    let second = sidecar.after(&first).await;
    assert_eq!(second.identity(), first.identity());
    let kept = std::fs::read_to_string(settings.state_dir.join("identity/identity.pem")).unwrap();
    let key = |text: &str| text.split("-----END PRIVATE KEY").next().unwrap().to_owned();
    assert_ne!(key(&stored), key(&kept));
    assert!(sidecar.identity.status().renewals >= 1);
}

#[tokio::test]
async fn a_restarted_sidecar_needs_no_control_plane_while_its_certificate_is_valid() {
    let mesh = Mesh::start().await;
    let settings = mesh.workload("reviews");
    let first = mesh.join(&settings).ready().await;
    mesh.server.abort();
    let again = Identity::open(&settings, &mesh.wall.clock()).unwrap();
    assert_eq!(again.current().unwrap().serial(), first.serial());
}

#[tokio::test]
async fn a_token_used_before_a_crash_of_the_control_plane_stays_used() {
    let mut mesh = Mesh::start().await;
    let settings = mesh.workload("reviews");
    let unused = mesh.workload("ratings");
    mesh.join(&settings).ready().await;
    mesh.restart().await;
    let thief = IdentitySettings { state_dir: mesh.directory.path().join("thief"), ..settings };
    let error = mesh.join(&thief).failed(1).await;
    assert!(error.contains("already used"), "{error}");
    mesh.join(&unused).ready().await;
}

#[tokio::test]
async fn a_laptop_that_slept_past_the_end_of_its_certificates_finds_its_way_back() {
    let mut mesh = Mesh::start().await;
    let settings = mesh.workload("reviews");
    let sidecar = mesh.join(&settings);
    let first = sidecar.ready().await;
    drop(sidecar);
    // A weekend: the control plane, its certificate and the sidecar's are all past their end on waking.
    mesh.wall.advance(Duration::from_secs(60 * 3600));
    mesh.restart().await;
    let awake = mesh.join(&settings);
    let second = awake.after(&first).await;
    assert!(second.not_after() > mesh.wall.clock().now());
}

#[tokio::test]
async fn a_bad_token_in_the_file_is_replaced_without_a_restart() {
    let mesh = Mesh::start().await;
    let file = mesh.directory.path().join("token");
    let good = mesh.workload("reviews");
    std::fs::write(&file, "wjt_wrong\n").unwrap();
    let settings = IdentitySettings { token: TokenSource::File(file.clone()), ..good };
    let sidecar = mesh.join(&settings);
    let error = sidecar.failed(1).await;
    assert!(error.contains("unknown"), "{error}");
    let workload = Workload {
        namespace: "bookshop".into(),
        service_account: "reviews".into(),
        name: Some("reviews-v1".into()),
    };
    let token = mesh.tokens.issue(&workload, Duration::from_secs(600)).unwrap().token;
    std::fs::write(&file, format!("{}\n", token.reveal())).unwrap();
    assert_eq!(sidecar.ready().await.identity().to_string(), REVIEWS);
    assert_eq!(sidecar.identity.status().last_error, None);
}

#[tokio::test]
async fn a_control_plane_that_comes_back_is_found_again() {
    let mut mesh = Mesh::start().await;
    let settings = mesh.workload("reviews");
    mesh.server.abort();
    let sidecar = mesh.join(&settings);
    let error = sidecar.failed(1).await;
    assert!(error.contains(&mesh.address.to_string()), "{error}");
    mesh.restart().await;
    sidecar.ready().await;
}

#[tokio::test]
async fn an_impostor_of_the_control_plane_gets_no_token() {
    let mesh = Mesh::start().await;
    let impostor = Mesh::start().await;
    let mut settings = mesh.workload("reviews");
    settings.control_plane = impostor.workload("reviews").control_plane;
    let error = mesh.join(&settings).failed(1).await;
    assert!(error.contains(&impostor.address.to_string()) && error.contains("cannot reach"), "{error}");
    // A workload of the mesh holds a certificate of the right root, but without the control plane's name.
    let workload = mesh.join(&mesh.workload("ratings"));
    workload.ready().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.control_plane = ControlPlane::at(listener.local_addr().unwrap().to_string());
    let acceptor = ServerAcceptor::new(workload.identity.clone());
    let serving = tokio::spawn(async move {
        loop {
            let _ = acceptor.accept(listener.accept().await.unwrap().0).await;
        }
    });
    let error = mesh.join(&settings).failed(1).await;
    assert!(error.contains("not valid for"), "{error}");
    serving.abort();
}

#[tokio::test]
async fn the_shared_channel_shows_the_control_plane_who_calls() {
    use weft_proto::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;
    use weft_proto::istio::ca::istio_certificate_service_server::{
        IstioCertificateService, IstioCertificateServiceServer,
    };
    use weft_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};

    /// Answers with who asked.
    struct Echo;

    #[tonic::async_trait]
    impl IstioCertificateService for Echo {
        async fn create_certificate(
            &self,
            request: tonic::Request<IstioCertificateRequest>,
        ) -> Result<tonic::Response<IstioCertificateResponse>, tonic::Status> {
            let caller = peer_identity(&request).map(|peer| peer.0.to_string());
            Ok(tonic::Response::new(IstioCertificateResponse { cert_chain: caller.into_iter().collect() }))
        }
    }

    let mesh = Mesh::start().await;
    let settings = mesh.workload("reviews");
    let sidecar = mesh.join(&settings);
    sidecar.ready().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let authority = CertificateAuthority::open(
        AuthoritySettings::new(mesh.directory.path(), TrustDomain::default()),
        Clock::system(),
    )
    .unwrap();
    let incoming =
        ControlPlaneAcceptor::new(authority, AcceptorSettings::default()).unwrap().incoming(listener);
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(IstioCertificateServiceServer::new(Echo))
            .serve_with_incoming(incoming),
    );
    let channel = channel(&ControlPlane::at(address), &sidecar.identity).unwrap();
    let request = IstioCertificateRequest::default();
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await.unwrap();
    assert_eq!(answer.into_inner().cert_chain, [REVIEWS]);
    server.abort();
}
