//! Pods that call others.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{kubectl, try_kubectl};
use crate::load::Summary;
use crate::wait::eventually;

/// A pod with the test's application.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    name: String,
}

impl Pod {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pod as JSON.
    #[must_use]
    #[track_caller]
    pub fn object(&self) -> Value {
        let text = kubectl(&["-n", &self.namespace, "get", "pod", &self.name, "-o", "json"]);
        serde_json::from_str(&text).expect("JSON")
    }

    /// Its address.
    #[must_use]
    #[track_caller]
    pub fn address(&self) -> String {
        self.object()["status"]["podIP"].as_str().expect("an address").to_owned()
    }

    /// Runs the application's program in its container with these arguments.
    ///
    /// # Errors
    /// What `kubectl exec` wrote to standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let front = ["-n", &self.namespace, "exec", &self.name, "-c", "app", "--", "/weft-test-app"];
        try_kubectl(&[&front, arguments].concat())
    }

    /// Sends a request: its answer, `{"status", "headers", "body"}`; status 0 and `error` when there is none.
    #[track_caller]
    pub fn call(&self, url: &str, more: &[&str]) -> Value {
        let text = self.run(&[&["call", url], more].concat()).expect("kubectl exec");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends requests until one is answered as wanted.
    pub async fn until(&self, url: &str, more: &[&str], status: u16) -> Value {
        eventually(&format!("{url} answers {status}"), async || {
            let answer = self.call(url, more);
            if answer["status"] == status { Ok(answer) } else { Err(answer.to_string()) }
        })
        .await
    }

    /// Sends so many requests and tells what came back.
    #[track_caller]
    pub fn requests(&self, url: &str, count: u64, more: &[&str]) -> Summary {
        let count = count.to_string();
        let text = self
            .run(&[&["load", url, "--pause", "0", "--count", &count], more].concat())
            .expect("kubectl exec");
        last(&text)
    }
}

/// A pod that sends requests all the time.
#[derive(Clone, Debug)]
pub struct LoadPod {
    pod: Pod,
}

impl LoadPod {
    pub(super) fn new(pod: Pod) -> Self {
        Self { pod }
    }

    /// What came back so far; none where its log cannot be had now.
    #[must_use]
    pub fn so_far(&self) -> Option<Summary> {
        let arguments = ["-n", &self.pod.namespace, "logs", &self.pod.name, "-c", "app", "--tail=1"];
        try_kubectl(&arguments).ok().filter(|text| !text.is_empty()).map(|text| last(&text))
    }

    /// Waits until so many more requests have been answered, well or badly.
    pub async fn more(&self, count: u64) -> Summary {
        let begun =
            eventually("load begins", async || self.so_far().ok_or_else(|| "no log yet".to_owned())).await;
        let wanted = begun.requests + count;
        eventually("load goes on", async || match self.so_far() {
            Some(summary) if summary.requests >= wanted => Ok(summary),
            summary => Err(format!("{:?} of {wanted} requests", summary.map(|it| it.requests))),
        })
        .await
    }
}

/// A port of a pod, forwarded by `kubectl` to one of this machine until it is dropped.
#[derive(Debug)]
pub struct Forward {
    child: std::process::Child,
    /// Open, so that `kubectl` can go on writing.
    _output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Forward {
    /// Forwards a port of what `kubectl` is told, such as `deployment/web`.
    #[must_use]
    #[track_caller]
    pub fn to(namespace: &str, what: &str, port: u16) -> Self {
        let mut command =
            super::kubectl_command(&["-n", namespace, "port-forward", what, &format!(":{port}")]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("kubectl");
        let mut line = String::new();
        // `Forwarding from 127.0.0.1:PORT -> …`
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("a line");
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        Self {
            child,
            _output: output,
            port: port.unwrap_or_else(|| panic!("kubectl port-forward says {line:?}")),
        }
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last(text: &str) -> Summary {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"))
}
