//! What tests against a real API server share: a namespace that goes away with the test, control planes as processes, and a
//! relay to the API server that can be cut.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API server, and a namespace of the test's own in it.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    kubeconfig: PathBuf,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// The cluster of `WEFT_TEST_KUBECONFIG`.
    pub async fn new() -> Self {
        let kubeconfig =
            std::env::var("WEFT_TEST_KUBECONFIG").expect("WEFT_TEST_KUBECONFIG names a kubeconfig");
        let kubeconfig = PathBuf::from(kubeconfig);
        let file = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let namespace = format!("weft-test-{:08x}", fastrand::u32(..));
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { client, namespace, kubeconfig, directory: tempfile::tempdir().unwrap() }
    }

    /// Makes or changes an object, as `kubectl apply` does.
    pub async fn apply(&self, plural: &str, object: Value) {
        let params = PatchParams::apply("weft-test").force();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.api(plural, &object).patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
    }

    /// Writes a part of an object's status.
    pub async fn set_status(&self, plural: &str, object: &Value, status: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let patch = Patch::Merge(json!({"status": status}));
        self.api(plural, object).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn delete(&self, plural: &str, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.api(plural, object).delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    pub async fn get(&self, plural: &str, object: &Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap();
        serde_json::to_value(self.api(plural, object).get(name).await.unwrap()).unwrap()
    }

    fn api(&self, plural: &str, object: &Value) -> Api<DynamicObject> {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let gvk = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        if object["kind"] == "CustomResourceDefinition" {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Makes sure that a kind is there, and served.
    pub async fn define(&self, group: &str, kind: &str, plural: &str, version: &str) {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}"), "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{
                    "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
                }],
            },
        });
        let definitions = self.api("customresourcedefinitions", &definition);
        // One that is there already, of a mesh that is installed, does as well.
        if definitions.get_opt(&format!("{plural}.{group}")).await.unwrap().is_none() {
            self.apply("customresourcedefinitions", definition.clone()).await;
        }
        let probe = json!({"apiVersion": format!("{group}/{version}"), "kind": kind});
        let objects = self.api(plural, &probe);
        until("the kind is served", async || objects.list(&Default::default()).await.is_ok()).await;
    }

    /// Writes a kubeconfig that leads over a relay.
    pub async fn kubeconfig_over(&self, relay: &Relay) -> PathBuf {
        let mut file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        for named in &mut file.clusters {
            let cluster = named.cluster.as_mut().unwrap();
            let server: http::Uri = cluster.server.as_deref().unwrap().parse().unwrap();
            cluster.tls_server_name.get_or_insert_with(|| server.host().unwrap().to_owned());
            cluster.server = Some(format!("https://{}", relay.address));
        }
        let path = self.directory.path().join(format!("kubeconfig-{}", relay.address.port()));
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        path
    }

    /// Where the API server is.
    pub fn server(&self) -> String {
        let file = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let server = file.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
        server.parse::<http::Uri>().unwrap().authority().unwrap().to_string()
    }

    /// A control plane in the namespace, ready.
    pub async fn control_plane(&self, kubeconfig: Option<&Path>, more: &[&str]) -> ControlPlane {
        let [tls, api, pages] = [(); 3].map(|()| free_port());
        let log = self.directory.path().join(format!("control-plane-{}.log", tls.port()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft-control-plane"));
        command.args(["run", "--kubernetes", "--namespace", &self.namespace]);
        command.arg("--kubeconfig").arg(kubeconfig.unwrap_or(&self.kubeconfig));
        for (option, address) in [("--listen-tls", tls), ("--listen-api", api), ("--monitoring", pages)] {
            command.args([option, &address.to_string()]);
        }
        // Read nothing of what other tests do at the same time.
        command.args(["--discovery-selector", &format!("kubernetes.io/metadata.name={}", self.namespace)]);
        let file = std::fs::File::create(&log).unwrap();
        command.args(more).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        let plane = ControlPlane { child, tls, pages, log };
        until("the control plane is ready", async || plane.page("/ready").await == "ok\n").await;
        plane
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that failed has no runtime any more that could be waited on.
        let (client, namespace) = (self.kubeconfig.clone(), self.namespace.clone());
        let cleanup = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let file = Kubeconfig::read_from(&client).unwrap();
                let config =
                    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
                let api: Api<Namespace> = Api::all(Client::try_from(config).unwrap());
                let _ = api.delete(&namespace, &DeleteParams::background()).await;
            });
        });
        let _ = cleanup.join();
    }
}

/// A control plane, killed with the test.
pub struct ControlPlane {
    child: Child,
    pub tls: SocketAddr,
    pages: SocketAddr,
    log: PathBuf,
}

impl ControlPlane {
    /// A monitoring page; empty while nobody answers.
    pub async fn page(&self, path: &str) -> String {
        let ask = async {
            let mut stream = TcpStream::connect(self.pages).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = ask.await.unwrap_or_default();
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// Waits until a page says something.
    pub async fn says(&self, path: &str, text: &str) {
        until(&format!("{path} says {text}"), async || self.page(path).await.contains(text)).await;
    }

    /// Waits until a page says something no more.
    pub async fn says_no_more(&self, path: &str, text: &str) {
        let silent = async || {
            let page = self.page(path).await;
            !page.is_empty() && !page.contains(text)
        };
        until(&format!("{path} says no more {text}"), silent).await;
    }

    /// A number of the metrics page.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.page("/metrics").await;
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut log = String::new();
            let _ = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut log));
            eprintln!("--- log of the control plane\n{log}");
        }
    }
}

/// Passes connections on, or cuts them all and refuses new ones.
pub struct Relay {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Relay {
    pub async fn to(server: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, opened) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut opened) = (server.clone(), opened.clone());
                tokio::spawn(async move {
                    if !*opened.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(&server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = opened.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        ticks.tick().await;
    }
}
