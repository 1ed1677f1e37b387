//! A namespace of one scenario: what it made goes with it.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{App, LoadPod, Pod, kubectl, try_kubectl, try_kubectl_with};
use crate::wait::eventually;

/// Deleted when it is dropped, also when the test failed.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new namespace whose pods are injected.
    #[must_use]
    #[track_caller]
    pub fn injected(scenario: &str) -> Self {
        Self::labelled(scenario, &[("istio-injection", "enabled")])
    }

    /// A new namespace with these labels.
    #[must_use]
    #[track_caller]
    pub fn labelled(scenario: &str, labels: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{scenario}-{}-{number}", std::process::id() % 10_000);
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        try_kubectl_with(&object.to_string(), &["create"]).expect("a namespace");
        Self { name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl -n THIS ARGUMENTS`; fails the test.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["-n", &self.name], arguments].concat())
    }

    /// `kubectl -n THIS ARGUMENTS`.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        try_kubectl(&[&["-n", &self.name], arguments].concat())
    }

    /// Applies YAML or JSON.
    ///
    /// # Errors
    /// What `kubectl` wrote to standard error.
    pub fn try_apply(&self, text: &str) -> Result<String, String> {
        try_kubectl_with(text, &["-n", &self.name, "apply"])
    }

    /// Applies YAML or JSON; fails the test.
    #[track_caller]
    pub fn apply(&self, text: &str) {
        self.try_apply(text).unwrap_or_else(|why| panic!("kubectl apply: {why}\n{text}"));
    }

    /// Applies YAML with `weft apply --wait`: returns when every sidecar concerned has it. Fails the test.
    #[track_caller]
    pub fn weft_apply(&self, text: &str) -> String {
        let arguments = ["apply", "-n", &self.name, "--wait", "-f", "-"];
        let (code, out, err) = super::weft_with(text, &arguments);
        assert!(code == 0, "weft {}: exit code {code}\n{out}\n{err}\n{text}", arguments.join(" "));
        out
    }

    /// Starts an application and waits until it is ready.
    #[track_caller]
    pub fn start(&self, app: &App) {
        self.apply(&app.objects().to_string());
        self.await_rollout(&app.reference());
    }

    /// Waits until a rollout is complete; fails with what the pods say.
    #[track_caller]
    pub fn await_rollout(&self, reference: &str) {
        if let Err(why) = self.try_kubectl(&["rollout", "status", reference, "--timeout=150s"]) {
            panic!("{reference} in {}: {why}\n{}", self.name, self.tell());
        }
    }

    /// What is going on, for a test that failed.
    #[must_use]
    pub fn tell(&self) -> String {
        let pods = self.try_kubectl(&["get", "pods", "-o", "wide"]).unwrap_or_else(|why| why);
        let events =
            self.try_kubectl(&["get", "events", "--sort-by=.lastTimestamp"]).unwrap_or_else(|why| why);
        let sidecars = self
            .try_kubectl(&[
                "logs",
                "--all-containers",
                "--prefix",
                "--tail=12",
                "--selector=app",
                "--max-log-requests=40",
            ])
            .unwrap_or_else(|why| why);
        format!("{pods}\n{events}\n{sidecars}")
    }

    /// One pod of those with a label, such as `app=reviews`; the first one that runs and is not about to go.
    #[must_use]
    #[track_caller]
    pub fn pod(&self, selector: &str) -> Pod {
        let pods = self.pods(selector);
        let name = pods.first().unwrap_or_else(|| panic!("no pod has {selector}\n{}", self.tell()));
        Pod::new(&self.name, name)
    }

    /// The names of the pods with a label that run and are not about to go.
    #[must_use]
    #[track_caller]
    pub fn pods(&self, selector: &str) -> Vec<String> {
        let list = self.kubectl(&["get", "pods", "--selector", selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let stays = |pod: &&Value| {
            pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running"
        };
        let pods = list["items"].as_array().into_iter().flatten().filter(stays);
        pods.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// A pod that calls others when it is told to: `client`.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Pod {
        self.start(&App::new("client").http(8080));
        self.pod("app=client")
    }

    /// A pod that sends requests all the time.
    #[must_use]
    #[track_caller]
    pub fn load(&self, name: &str, url: &str, more: &[&str]) -> LoadPod {
        let arguments: Vec<&str> = [&["load", url], more].concat();
        self.start(&App::new(name).command(&arguments));
        LoadPod::new(self.pod(&format!("app={name}")))
    }

    /// An object as JSON.
    #[must_use]
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])).expect("JSON")
    }

    /// Asks until an object is as wanted; fails the test with the last complaint.
    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        mut holds: impl FnMut(&Value) -> Result<(), String>,
    ) -> Value {
        eventually(&format!("{kind} {name} in {}", self.name), async || {
            let text = self.try_kubectl(&["get", kind, name, "-o", "json"])?;
            let object: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            holds(&object).map(|()| object)
        })
        .await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- namespace {}\n{}", self.name, self.tell());
        }
        let _ = try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
