//! A workload that is about to be started, as `weft run` takes it.

use serde_json::Value;

use crate::client::Client;
use crate::mesh::Mesh;
use crate::wait::eventually;

/// What the workload runs.
#[derive(Clone, Debug, Default)]
pub struct App {
    arguments: Vec<String>,
}

impl App {
    /// A server that answers on the workload's first port who it is and what it got.
    #[must_use]
    pub fn http() -> Self {
        Self::default().serving("--http")
    }

    /// TCP: what comes goes back.
    #[must_use]
    pub fn echo() -> Self {
        Self::default().serving("--echo")
    }

    /// TCP: the server speaks first.
    #[must_use]
    pub fn banner() -> Self {
        Self::default().serving("--banner")
    }

    /// TCP: accepts and hangs up.
    #[must_use]
    pub fn hang_up() -> Self {
        Self::default().serving("--hang-up")
    }

    /// Collects traces over OTLP/gRPC, and prints them.
    #[must_use]
    pub fn collector() -> Self {
        Self::default().serving("--collector")
    }

    /// A name server that knows these names, each as `NAME=ADDRESS`.
    #[must_use]
    pub fn dns(known: &[&str]) -> Self {
        let mut app = Self::default();
        for one in known {
            app.arguments.extend(["--known", one].map(str::to_owned));
        }
        app.serving("--dns")
    }

    fn serving(mut self, kind: &str) -> Self {
        self.arguments.push(kind.to_owned());
        self
    }
}

/// A workload that is being put together.
#[derive(Debug)]
#[must_use]
pub struct Run<'a> {
    mesh: &'a Mesh,
    service: String,
    version: String,
    name: String,
    ports: Vec<(String, App)>,
    options: Vec<String>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(mesh: &'a Mesh, service: &str) -> Self {
        let (version, name) = (String::new(), service.to_owned());
        Self { mesh, service: service.to_owned(), version, name, ports: Vec::new(), options: Vec::new() }
    }

    /// Label `version`, and part of the name.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self.name = format!("{}-{version}", self.service);
        self
    }

    /// Another name than the service's and version's: for a replica.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// A port as `weft run --port` takes it, and what serves there.
    pub fn serve(mut self, port: &str, app: App) -> Self {
        self.ports.push((port.to_owned(), app));
        self
    }

    /// The usual: HTTP on port 9080.
    pub fn http(self) -> Self {
        self.serve("http:9080", App::http())
    }

    /// Any option of `weft run`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.extend(option.split(' ').map(str::to_owned));
        self
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["run".to_owned(), "--detach".to_owned()];
        let mut add = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        add("--name", &self.name);
        add("--service", &self.service);
        if !self.version.is_empty() {
            add("--version", &self.version);
        }
        for (port, _) in &self.ports {
            add("--port", port);
        }
        arguments.extend(self.options.iter().cloned());
        arguments.push("--".to_owned());
        arguments.push(self.mesh.program("weft-test-app").display().to_string());
        arguments.extend(["serve", "--instance", &self.name, "--version", &self.version].map(str::to_owned));
        if self.mesh.is_explicit() {
            arguments.extend(["--bind", "127.0.0.1"].map(str::to_owned));
        }
        for (port, app) in &self.ports {
            arguments.extend(app.arguments.iter().cloned());
            arguments.push(port.rsplit(':').next().unwrap_or_default().to_owned());
        }
        arguments
    }

    /// Starts it, and waits until its ports accept.
    pub async fn start(self) -> Workload<'a> {
        let arguments = self.arguments();
        self.mesh.good(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Workload { mesh: self.mesh, name: self.name }
    }
}

/// A workload that runs.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    mesh: &'a Mesh,
    /// Its name.
    pub name: String,
}

impl<'a> Workload<'a> {
    pub(crate) fn named(mesh: &'a Mesh, name: &str) -> Self {
        Self { mesh, name: name.to_owned() }
    }

    /// What `weft ps` says of it.
    pub async fn record(&self) -> Value {
        let all = self.mesh.json(&["ps"]).await;
        let own = all.as_array().into_iter().flatten().find(|it| it["name"] == *self.name);
        own.cloned().unwrap_or_else(|| panic!("`weft ps` does not know {}: {all}", self.name))
    }

    /// Its first address of a family.
    pub async fn address(&self, ipv6: bool) -> String {
        let record = self.record().await;
        let mut all = record["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.find(|it| it.contains(':') == ipv6)
            .unwrap_or_else(|| panic!("no such address: {record}"))
            .to_owned()
    }

    /// Stops it as a user does: out of the endpoints, SIGTERM, and it is gone.
    pub async fn stop(&self) {
        self.mesh.good(&["down", &self.name]).await;
    }

    /// What its sidecar wrote so far: messages and access log.
    #[must_use]
    pub fn proxy_log(&self) -> String {
        self.mesh.workload_file(&self.name, "proxy.log")
    }

    /// What its application wrote so far.
    #[must_use]
    pub fn app_log(&self) -> String {
        self.mesh.workload_file(&self.name, "app.log")
    }

    /// Waits until its sidecar has written a line with all these words, and gives the line.
    pub async fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("{} logs {words:?}", self.name), async || {
            let log = self.proxy_log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).ok_or_else(|| format!("its log:\n{log}"))
        })
        .await
    }

    /// A page of its sidecar's admin endpoint.
    pub async fn admin(&self, path: &str) -> String {
        let record = self.record().await;
        let socket = record["adminSocket"].as_str().expect("a sidecar").to_owned();
        // HTTP/1.0 has no chunks between which the text would have to be looked for.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = tokio::net::UnixStream::connect(&socket).await.expect("the admin socket accepts");
        let (mut read, mut write) = answer.into_split();
        let mut text = Vec::new();
        tokio::io::AsyncWriteExt::write_all(&mut write, request.as_bytes()).await.expect("asked");
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut text).await.expect("answered");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until a client gets 200 for a URL: the mesh has heard of the workload.
    pub async fn reached_by(&self, client: &Client, url: &str) {
        eventually(&format!("{} is reached", self.name), async || {
            let answer = client.request("GET", url).try_send().await?;
            let instance = answer.header("x-instance");
            if answer.status == 200 && instance == self.name {
                return Ok(());
            }
            Err(format!("{} from `{instance}`: {}", answer.status, answer.text()))
        })
        .await;
    }
}
