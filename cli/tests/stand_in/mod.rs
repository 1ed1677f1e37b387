//! Stands in for the two other programs, so that the runtime is tested by itself: namespaces, cables, rules and
//! processes are real. `weft-control-plane` and `weft-proxy intercept` are this very test program, run again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};
use weft_proto::api::mesh_server::{Mesh, MeshServer};
use weft_proto::api::*;

/// An ordinary user: `nobody`.
pub const ORDINARY: u32 = 65534;

/// A directory with `weft`, the stand-ins and a `WEFT_HOME`; `weft down` when dropped.
pub struct Stage {
    directory: tempfile::TempDir,
    user: Option<u32>,
}

impl Stage {
    pub fn new(user: Option<u32>) -> Self {
        let directory = tempfile::Builder::new().prefix("weft-t").tempdir_in("/tmp").unwrap();
        let stage = Self { directory, user };
        fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(stage.path("bin")).unwrap();
        copy(Path::new(env!("CARGO_BIN_EXE_weft")), &stage.path("bin/weft"));
        let own = std::env::current_exe().unwrap();
        let again =
            |test: &str| format!("exec '{}' --ignored --exact --nocapture stand_in::{test}", own.display());
        stage.script(
            "bin/weft-control-plane",
            &format!("export STAND_IN_ARGUMENTS=\"$*\"\n{}", again("control_plane")),
        );
        let proxy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in/weft-proxy.py");
        fs::copy(proxy, stage.path("bin/weft-proxy.py")).unwrap();
        let intercept = format!(
            "if [ \"$1\" = intercept ]; then export STAND_IN_ARGUMENTS=\"$*\"; {}; fi",
            again("intercept")
        );
        let run = format!("exec /usr/bin/python3 {} \"$@\"", stage.path("bin/weft-proxy.py").display());
        stage.script("bin/weft-proxy", &format!("{intercept}\n{run}"));
        fs::write(stage.path("names"), "").unwrap();
        fs::create_dir(stage.path("base")).unwrap();
        if let Some(user) = user {
            chown(stage.path("base"), Some(user), Some(user)).unwrap();
        }
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `WEFT_HOME`: a directory that is not there before `weft up`.
    pub fn home(&self) -> PathBuf {
        self.path("base/home")
    }

    fn script(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        copy(&draft, &self.path(name));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let weft = self.path("bin/weft");
        let mut command = match self.user {
            None => Command::new(weft),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([
                    format!("--reuid={user}"),
                    format!("--regid={user}"),
                    "--clear-groups".to_owned(),
                ]);
                command.arg(weft);
                command
            }
        };
        command
            .args(arguments)
            .current_dir("/")
            .env("WEFT_HOME", self.home())
            .env("STAND_IN_NAMES", self.path("names"));
        command
    }

    pub fn weft(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What it printed; fails with all it said when it did not end with 0.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.weft(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stderr), text(&output.stdout));
        text(&output.stdout)
    }

    pub fn log(&self, workload: &str, file: &str) -> String {
        fs::read_to_string(self.home().join(format!("default/workloads/{workload}.default/{file}")))
            .unwrap_or_default()
    }
}

/// By another process: a program that this one has open for writing cannot be run by what it forks meanwhile.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.command(&["down"]).output();
    }
}

/// Remembers how many addresses it gave, as the real one does.
struct StandIn {
    given: AtomicU32,
    file: PathBuf,
}

type Stream<T> = tokio_stream::Empty<Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Mesh for StandIn {
    type ApplyStream = Stream<ApplyEvent>;
    type DeleteStream = Stream<ApplyEvent>;

    async fn register_workload(
        &self,
        request: Request<RegisterWorkloadRequest>,
    ) -> Answer<RegisterWorkloadResponse> {
        let asked = request.into_inner();
        let number = 2 + self.given.fetch_add(1, Ordering::SeqCst);
        fs::write(&self.file, (number - 1).to_string()).unwrap();
        let name = if asked.name.is_empty() { format!("client-{number}") } else { asked.name };
        println!("registered {name} {:?}", asked.ports);
        let isolated = |text: String| if asked.explicit { Vec::new() } else { vec![text] };
        let (mut addresses, mut gateways) =
            (isolated(format!("10.250.0.{number}/16")), isolated("10.250.0.1".to_owned()));
        if Path::new("/proc/net/if_inet6").exists() {
            addresses.extend(isolated(format!("fd57:6566:7400::{number:x}/64")));
            gateways.extend(isolated("fd57:6566:7400::1".to_owned()));
        }
        Ok(Response::new(RegisterWorkloadResponse {
            node: format!("sidecar~10.250.0.{number}~{name}.default~default.svc.cluster.local"),
            name,
            namespace: asked.namespace,
            service_account: asked.service_account,
            join_token: "token".to_owned(),
            addresses,
            gateways,
            discovery_address: "10.250.0.1:15012".to_owned(),
            trust_bundle: "no certificate".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            token_ttl_seconds: 600,
        }))
    }

    async fn deregister_workload(
        &self,
        request: Request<DeregisterWorkloadRequest>,
    ) -> Answer<DeregisterWorkloadResponse> {
        println!("deregistered {}", request.into_inner().name);
        Ok(Response::new(DeregisterWorkloadResponse {}))
    }

    async fn report_workload(
        &self,
        request: Request<ReportWorkloadRequest>,
    ) -> Answer<ReportWorkloadResponse> {
        let request = request.into_inner();
        println!("reported {} {:?}", request.name, request.state());
        Ok(Response::new(ReportWorkloadResponse { known: true }))
    }

    async fn create_join_token(&self, _: Request<CreateJoinTokenRequest>) -> Answer<CreateJoinTokenResponse> {
        Ok(Response::new(CreateJoinTokenResponse { token: "another token".to_owned(), ttl_seconds: 600 }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Answer<InfoResponse> {
        let trust_domain = "cluster.local".to_owned();
        Ok(Response::new(InfoResponse {
            trust_domain,
            pid: std::process::id().into(),
            ..InfoResponse::default()
        }))
    }

    async fn apply(&self, _: Request<ApplyRequest>) -> Answer<Self::ApplyStream> {
        Err(Status::unimplemented("not of the runtime"))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Answer<Self::DeleteStream> {
        Err(Status::unimplemented("not of the runtime"))
    }

    async fn get(&self, _: Request<GetRequest>) -> Answer<GetResponse> {
        Err(Status::unimplemented("not of the runtime"))
    }

    async fn proxy_status(&self, _: Request<ProxyStatusRequest>) -> Answer<ProxyStatusResponse> {
        Err(Status::unimplemented("not of the runtime"))
    }

    async fn proxy_resources(&self, _: Request<ProxyResourcesRequest>) -> Answer<ProxyResourcesResponse> {
        Err(Status::unimplemented("not of the runtime"))
    }

    async fn stat(&self, _: Request<StatRequest>) -> Answer<StatResponse> {
        Err(Status::unimplemented("not of the runtime"))
    }
}

fn arguments() -> Option<Vec<String>> {
    Some(std::env::var("STAND_IN_ARGUMENTS").ok()?.split(' ').map(str::to_owned).collect())
}

#[test]
#[ignore = "run as weft-control-plane by the stage"]
fn control_plane() {
    let Some(arguments) = arguments() else { return };
    println!("arguments {}", arguments.join(" "));
    let value = |name: &str| &arguments[arguments.iter().position(|it| it == name).unwrap() + 1];
    let (socket, file) = (value("--socket"), Path::new(value("--state-dir")).join("given"));
    let given = fs::read_to_string(&file).ok().and_then(|it| it.parse().ok()).unwrap_or_default();
    let stand_in = StandIn { given: AtomicU32::new(given), file };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        tonic::transport::Server::builder()
            .add_service(MeshServer::new(stand_in))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .unwrap();
    });
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    intercept: weft_proxy::interception::command::InterceptArgs,
}

#[test]
#[ignore = "run as `weft-proxy intercept` by the stage"]
fn intercept() {
    let Some(arguments) = arguments() else { return };
    let line = <Line as clap::Parser>::parse_from(arguments);
    weft_proxy::interception::command::run(line.intercept).unwrap();
}
