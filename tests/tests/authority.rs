//! The mesh's authority with the real programs: tokens that expire, a root that the user brings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use weft_proto::api::CreateJoinTokenRequest;
use weft_proto::api::mesh_client::MeshClient;
use weft_tests::mesh::{Mesh, said};
use weft_tests::wait::until;

const REVIEWS: &str = "http://reviews:9080/";

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl runs")
}

/// A root certificate and its key, `NAME.pem` and `NAME.key`, as a user makes one.
fn make_root(directory: &Path, name: &str) {
    let (key, certificate, subject) =
        (format!("{name}.key"), format!("{name}.pem"), format!("/O=Bookshop/CN={name} root"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let files = ["-keyout", &key, "-out", &certificate, "-subj", &subject, "-days", "30"];
    let output = openssl(directory, &[&["req", "-x509"], &curve[..], &files[..]].concat());
    assert!(output.status.success(), "{}", said(&output));
}

fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

#[tokio::test]
async fn a_root_of_the_users_own_vouches_for_every_workload() {
    let files = tempfile::tempdir().unwrap();
    make_root(files.path(), "mine");
    let (certificate, key) = (path(&files, "mine.pem"), path(&files, "mine.key"));
    let options = ["--root-cert", &certificate, "--root-key", &key, "--certificate-lifetime", "1h"];
    let plan = options.iter().fold(Mesh::plan(), |plan, option| plan.option(option));
    let mesh = plan.up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let shop = mesh.client("shop").await;
    reviews.reached_by(&shop, REVIEWS).await;
    let caller = shop.get(REVIEWS).await.expect(200).field("headers.x-forwarded-client-cert");
    assert!(caller.contains("URI=spiffe://cluster.local/ns/default/sa/shop"), "{caller}");

    // The file holds the key too; openssl takes the certificates out of it.
    let identity = mesh.workload_file("reviews", "proxy/identity/identity.pem");
    let chain = identity.find("-----BEGIN CERTIFICATE").map(|at| &identity[at..]).expect("a certificate");
    std::fs::write(files.path().join("workload.pem"), chain).unwrap();
    let verified = openssl(
        files.path(),
        &["verify", "-CAfile", "mine.pem", "-untrusted", "workload.pem", "workload.pem"],
    );
    assert!(verified.status.success(), "{}", said(&verified));
    make_root(files.path(), "other");
    let strange = openssl(
        files.path(),
        &["verify", "-CAfile", "other.pem", "-untrusted", "workload.pem", "workload.pem"],
    );
    assert!(!strange.status.success(), "another root vouches for it too: {}", said(&strange));
    let expires_within = |seconds: &str| {
        let output = openssl(files.path(), &["x509", "-in", "workload.pem", "-noout", "-checkend", seconds]);
        !output.status.success()
    };
    assert!(expires_within("3700") && !expires_within("3000"), "its lifetime is not that of `weft up`");
}

#[tokio::test]
async fn a_root_that_cannot_sign_is_refused_with_what_is_wrong() {
    let mesh = Mesh::up().await;
    let files = tempfile::tempdir().unwrap();
    make_root(files.path(), "one");
    make_root(files.path(), "two");
    std::fs::write(files.path().join("leaf.cnf"), "[v]\nbasicConstraints=critical,CA:FALSE\n").unwrap();
    let output = openssl(
        files.path(),
        &[
            "req",
            "-x509",
            "-key",
            "two.key",
            "-out",
            "leaf.pem",
            "-subj",
            "/CN=leaf",
            "-days",
            "30",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    for (certificate, key, wrong) in [
        ("one.pem", "two.key", "its key belongs to another certificate"),
        ("leaf.pem", "two.key", "it may not sign certificates"),
        ("one.pem", "one.pem", "its key"),
        ("one.key", "one.key", "it holds no certificate"),
    ] {
        let (certificate, key) = (path(&files, certificate), path(&files, key));
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let output =
            mesh.weft(&["--mesh", "wrong", "up", "--root-cert", &certificate, "--root-key", &key]).await;
        let told = said(&output);
        assert!(!output.status.success() && told.contains(wrong), "{certificate}, {key}: {told}");
        assert!(told.contains(&certificate), "it does not say which file: {told}");
    }
    let only_one = mesh.weft(&["--mesh", "wrong", "up", "--root-cert", &path(&files, "one.pem")]).await;
    assert!(said(&only_one).contains("--root-key"), "{}", said(&only_one));
    let missing = path(&files, "missing.pem");
    let key = path(&files, "one.key");
    let output = mesh.weft(&["--mesh", "wrong", "up", "--root-cert", &missing, "--root-key", &key]).await;
    assert!(!output.status.success() && said(&output).contains("missing.pem"), "{}", said(&output));
    mesh.good(&["--mesh", "wrong", "down"]).await;
}

/// Asks the control plane as `weft` does.
async fn asked(mesh: &Mesh) -> MeshClient<Channel> {
    let socket = mesh.state().join("control.sock");
    let channel = Endpoint::from_static("http://weft").connect_with_connector(UnixSocket(socket)).await;
    MeshClient::new(channel.expect("the control plane answers"))
}

struct UnixSocket(std::path::PathBuf);

type Connecting<T> = std::pin::Pin<Box<dyn Future<Output = std::io::Result<T>> + Send>>;

impl tonic::codegen::Service<http::Uri> for UnixSocket {
    type Response = hyper_util::rt::TokioIo<tokio::net::UnixStream>;
    type Error = std::io::Error;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(
            async move { Ok(hyper_util::rt::TokioIo::new(tokio::net::UnixStream::connect(path).await?)) },
        )
    }
}

#[tokio::test]
async fn an_expired_join_token_is_refused_and_logged() {
    let mesh = Mesh::up().await;
    let lifetime = Duration::from_secs(1);
    let request = CreateJoinTokenRequest {
        service_account: "late".to_owned(),
        ttl_seconds: lifetime.as_secs(),
        ..CreateJoinTokenRequest::default()
    };
    let token = asked(&mesh).await.create_join_token(request).await.unwrap().into_inner().token;
    let issued = Instant::now();
    // Any sidecar has the roots that vouch for the control plane.
    mesh.client("shop").await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), &token).unwrap();
    until("the token has expired", || issued.elapsed() > lifetime).await;
    let bundle = mesh.state().join("workloads/shop.default/trust-bundle.pem").display().to_string();
    let (state, token_file) = (path(&directory, "state"), path(&directory, "token"));
    std::fs::create_dir(&state).unwrap();
    let proxy = mesh.program("weft-proxy").display().to_string();
    let run = ["run", "--no-sidecar", "--name", "late", "--", "timeout", "3", &proxy, "run"];
    let who = ["--node", "sidecar~10.250.0.99~late.default~default.svc.cluster.local"];
    let whom = ["--discovery-address", "10.250.0.1:15012", "--trust-bundle", &bundle];
    let what =
        ["--join-token-file", &token_file, "--state-dir", &state, "--metadata", "service_account=late"];
    let how = ["--mode", "explicit", "--admin-address", "127.0.0.1:0"];
    let output = mesh.weft(&[&run[..], &who[..], &whom[..], &what[..], &how[..]].concat()).await;
    let told = said(&output);
    assert!(told.contains("this join token has expired"), "{told}");
    assert!(!told.contains("obtained a certificate"), "{told}");
    let log = mesh.control_plane_log();
    let logged = log.lines().any(|it| it.contains("refused a join token") && it.contains("has expired"));
    assert!(logged, "not logged: {log}");
    assert!(!log.contains(token.trim()), "a token must not be in a log");
}
