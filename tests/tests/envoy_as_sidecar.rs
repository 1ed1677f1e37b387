//! A real Envoy as a client of our control plane, over both forms of ADS: it takes everything, and routes as the
//! policy says. What it refuses would be refused by every other reader of xDS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;
use weft_tests::client::Client;
use weft_tests::mesh::built;
use weft_tests::wait::{eventually, until};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 127.0.0.1, ports: {http: 7001}, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 127.0.0.1, ports: {http: 7002}, labels: {app: reviews, version: v2}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 9080}, {name: tcp, port: 5432}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-0}
spec: {address: 10.0.9.1, labels: {app: db, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-1}
spec: {address: 10.0.9.2, labels: {app: db, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere}
spec:
  hosts: [elsewhere.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints: [{address: localhost}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
    connectionPool: {tcp: {maxConnections: 100}, http: {http2MaxRequests: 500}}
    outlierDetection: {consecutive5xxErrors: 50}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

const POLICY: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {x-user: {exact: tester}}}, {uri: {regex: '/beta/[0-9]+'}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{headers: {x-fault: {exact: abort}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /missing}}]
    route: [{destination: {host: missing}}]
  - timeout: 10s
    retries: {attempts: 3, retryOn: '5xx,reset', perTryTimeout: 3s}
    headers: {request: {set: {x-added: by-policy}}}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 100}
    - {destination: {host: reviews, subset: v2}, weight: 0}
";

/// A network namespace with a control plane, two applications, a client and an Envoy.
struct Island {
    directory: TempDir,
    holder: Child,
    processes: Vec<Child>,
}

impl Island {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("weft-e").tempdir_in("/tmp").unwrap();
        // A cable to nowhere: what is not intercepted is lost.
        let network = "ip link set lo up && ip link add wire type veth peer name far && ip link set far up && \
                       ip addr add 10.9.9.9/24 dev wire && ip link set wire up && ip route add default via 10.9.9.1 && touch \"$1\" && exec sleep 100000";
        let ready = directory.path().join("ready");
        let mut unshare = Command::new("setpriv");
        unshare.args(["--pdeathsig", "KILL", "unshare", "--net"]);
        if !nix::unistd::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let holder = unshare.args(["sh", "-c", network, "sh"]).arg(&ready).spawn().unwrap();
        Self { directory, holder, processes: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target", &self.holder.id().to_string(), "--net"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program).args(arguments).stdin(Stdio::null());
        command
    }

    fn start(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let mut command = self.command(program, arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(command.spawn().unwrap());
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// The control plane, both applications and the client.
    async fn settle(&mut self) -> Client {
        let ready = self.path("ready");
        until("the network is there", || ready.exists()).await;
        fs::create_dir(self.path("policy")).unwrap();
        fs::write(self.path("policy/service.yaml"), SERVICE).unwrap();
        fs::write(self.path("policy/policy.yaml"), POLICY).unwrap();
        let (state, socket, policy) = (self.path("state"), self.path("control.sock"), self.path("policy"));
        let text = |path: &Path| path.display().to_string();
        self.start(
            "control-plane",
            &built().join("weft-control-plane"),
            &[
                "run",
                "--state-dir",
                &text(&state),
                "--socket",
                &text(&socket),
                "--config-dir",
                &text(&policy),
                "--listen-tls",
                "127.0.0.1:15012",
                "--listen-plaintext",
                "127.0.0.1:15010",
            ],
        );
        let app = built().join("weft-test-app");
        for (version, port) in [("v1", "7001"), ("v2", "7002")] {
            let arguments =
                ["serve", "--instance", version, "--version", version, "--bind", "127.0.0.1", "--http", port];
            self.start(version, &app, &arguments);
        }
        let dialer = self.path("client.sock");
        self.start("client", &app, &["dial", &text(&dialer)]);
        until("the client listens", || std::os::unix::net::UnixStream::connect(&dialer).is_ok()).await;
        Client::at(&dialer)
    }

    /// An Envoy with nothing but the address of the control plane.
    async fn start_envoy(&mut self, api_type: &str, metadata: serde_json::Value) {
        let http2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}});
        let secrets = self.path("secrets.sock");
        if !secrets.exists() {
            weft_tests::secrets::serve(&secrets);
        }
        let cluster = |name: &str, address: serde_json::Value| {
            json!({"name": name, "type": "STATIC", "connect_timeout": "5s", "typed_extension_protocol_options": http2,
                "load_assignment": {"cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}})
        };
        let xds = cluster("xds", json!({"socket_address": {"address": "127.0.0.1", "port_value": 15010}}));
        let agent = cluster("sds-grpc", json!({"pipe": {"path": secrets.display().to_string()}}));
        let ads = json!({"ads": {}, "resource_api_version": "V3"});
        let bootstrap = json!({
            "node": {"id": "sidecar~10.9.9.9~envoy.default~default.svc.cluster.local", "cluster": "envoy.default",
                "metadata": metadata},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 19000}}},
            "dynamic_resources": {"cds_config": ads, "lds_config": ads, "ads_config": {"api_type": api_type,
                "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}},
            // `sds-grpc` is where sidecars get their own certificate from.
        "static_resources": {"clusters": [xds, agent]},
            // Its own connections pass the interception: SOL_SOCKET, SO_MARK.
            "cluster_manager": {"upstream_bind_config": {"socket_options":
                [{"level": 1, "name": 36, "int_value": 1337, "state": "STATE_PREBIND"}]}},
        });
        let path = self.path("envoy.json");
        fs::write(&path, bootstrap.to_string()).unwrap();
        let config = path.display().to_string();
        let arguments =
            ["-c", &config, "--concurrency", "1", "--log-level", "warning", "--disable-hot-restart"];
        self.start("envoy", &weft_tests::envoy::binary(), &arguments);
    }

    fn stop_envoy(&mut self) {
        let mut envoy = self.processes.pop().expect("it was started last");
        envoy.kill().unwrap();
        envoy.wait().unwrap();
    }

    /// Fails with what Envoy says when it refused anything.
    async fn assert_nothing_refused(&self, client: &Client) {
        let stats = client.get("http://127.0.0.1:19000/stats").await.expect(200).text();
        let refused: Vec<&str> =
            stats.lines().filter(|line| line.contains("update_rejected") && !line.ends_with(": 0")).collect();
        assert!(refused.is_empty(), "{refused:#?}\n{}", self.log("envoy"));
        for kind in ["cluster_manager.cds.update_success", "listener_manager.lds.update_success"] {
            let line = stats.lines().find(|line| line.starts_with(kind)).unwrap_or_default();
            assert!(!line.is_empty() && !line.ends_with(": 0"), "{kind}: {line}\n{}", self.log("envoy"));
        }
        let failed: Vec<&str> = stats
            .lines()
            .filter(|line| {
                line.starts_with("listener_manager.listener_create_failure") && !line.ends_with(": 0")
            })
            .collect();
        assert!(failed.is_empty(), "{failed:#?}\n{}", self.log("envoy"));
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["control-plane", "envoy"] {
                let log = self.log(name);
                let from = log.len().saturating_sub(6000);
                eprintln!("---- {name} ----\n{}", log.get(from..).unwrap_or(&log));
            }
        }
        for process in self.processes.iter_mut().chain([&mut self.holder]) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The policy, seen through Envoy. `url` leads to it; requests name the service by `Host`.
async fn routes_as_the_policy_says(island: &Island, client: &Client, url: &str) {
    let call = |path: &str| client.request("GET", &format!("{url}{path}")).header("host", "reviews:9080");
    eventually("Envoy routes", async || {
        // The policy of an earlier round may still be in force.
        let answer = call("/").try_send().await?;
        let is_right = answer.status == 200 && answer.field("version") == "v1";
        if is_right { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
    })
    .await;
    for _ in 0..20 {
        let answer = call("/").send().await.expect(200);
        assert_eq!(
            (answer.field("version"), answer.field("headers.x-added")),
            ("v1".into(), "by-policy".into())
        );
    }
    assert_eq!(call("/").header("x-user", "tester").send().await.expect(200).field("version"), "v2");
    assert_eq!(call("/beta/17").send().await.expect(200).field("version"), "v2");
    assert_eq!(call("/beta/x").send().await.expect(200).field("version"), "v1");
    call("/").header("x-fault", "abort").send().await.expect(418);
    call("/missing").send().await.expect(503);
    call("/?status=503&fail_first=2&key=retried").send().await.expect(200);
    // A change of policy.
    fs::write(
        island.path("policy/policy.yaml"),
        POLICY
            .replace("subset: v1}, weight: 100", "subset: v1}, weight: 0")
            .replace("subset: v2}, weight: 0", "subset: v2}, weight: 100"),
    )
    .unwrap();
    eventually("Envoy follows", async || {
        let answer = call("/").try_send().await?;
        let version = answer.field("version");
        if version == "v2" { Ok(()) } else { Err(version) }
    })
    .await;
    island.assert_nothing_refused(client).await;
    fs::write(island.path("policy/policy.yaml"), POLICY).unwrap();
}

#[tokio::test]
async fn a_real_envoy_takes_everything_and_routes_by_delta_and_by_state_of_the_world() {
    let mut island = Island::new();
    let client = island.settle().await;
    for api_type in ["DELTA_GRPC", "GRPC"] {
        let metadata = json!({"INTERCEPTION_MODE": "NONE", "WEFT_EXPLICIT_OUTBOUND": "127.0.0.1:15080"});
        island.start_envoy(api_type, metadata).await;
        routes_as_the_policy_says(&island, &client, "http://127.0.0.1:15080").await;
        island.stop_envoy();
    }
}

#[tokio::test]
async fn a_real_envoy_serves_intercepted_connections_with_our_listeners() {
    let mut island = Island::new();
    let client = island.settle().await;
    let intercept = island.command(&built().join("weft-proxy"), &["intercept", "apply"]).output().unwrap();
    assert!(intercept.status.success(), "{}", String::from_utf8_lossy(&intercept.stderr));
    island.start_envoy("DELTA_GRPC", json!({"INTERCEPTION_MODE": "REDIRECT"})).await;
    routes_as_the_policy_says(&island, &client, "http://10.96.0.10:9080").await;
}
