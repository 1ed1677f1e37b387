//! The plugin and the agent together: a real network namespace is handed over, and rules are in it afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test program")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use weft_proxy::cni::agent::{self, Pods};
use weft_proxy::cni::kubernetes::ApiError;
use weft_proxy::cni::message::{self, Answer, PodRef, Request};
use weft_proxy::cni::{PLUGIN, plugin};
use weft_proxy::interception::apply::families_here;
use weft_proxy::interception::{Interception, check};

/// An API server's knowledge of pods, by `namespace/name`.
struct Known(BTreeMap<String, Value>);

impl Pods for Known {
    async fn pod(&self, pod: &PodRef) -> Result<Value, ApiError> {
        let path = format!("{}/{}", pod.namespace, pod.name);
        self.0.get(&path).cloned().ok_or(ApiError::Refused {
            method: Method::GET,
            path,
            status: StatusCode::NOT_FOUND,
            message: "not found".to_owned(),
        })
    }
}

fn injected(uid: &str) -> Value {
    json!({ "metadata": { "uid": uid }, "spec": { "initContainers": [
        { "name": "weft-validation", "args": ["intercept", "check", "--timeout=5s"] },
    ] } })
}

/// An agent that knows three pods, and where it listens.
fn agent(folder: &tempfile::TempDir) -> PathBuf {
    let socket = folder.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let pods = [
        ("shop/reviews-1", injected("u-1")),
        ("shop/plain", json!({ "metadata": { "uid": "u-2" }, "spec": {} })),
        ("shop/web-0", injected("u-old")),
    ];
    let known = Known(pods.map(|(name, pod)| (name.to_owned(), pod)).into());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            agent::serve(UnixListener::from_std(listener).unwrap(), Arc::new(known)).await
        });
    });
    socket
}

/// What the plugin says for a pod whose network namespace is this thread's.
fn plugin(command: &str, socket: &PathBuf, name: &str, uid: &str) -> Result<Option<Value>, plugin::CniError> {
    let input = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": PLUGIN, "socket": socket, "excludeNamespaces": [],
        "prevResult": { "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0" }] },
    });
    let variable = |wanted: &str| match wanted {
        "CNI_COMMAND" => Some(command.to_owned()),
        "CNI_ARGS" => Some(format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name};K8S_POD_UID={uid}")),
        "CNI_NETNS" => Some("/proc/thread-self/ns/net".to_owned()),
        _ => None,
    };
    plugin::run(&variable, input.to_string().as_bytes())
}

/// Does something in a new network namespace; as an ordinary user, who may not enter any, in a user namespace.
fn in_a_pods_network(test: &str, inside: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        let own = std::env::current_exe().unwrap();
        let again =
            Command::new("unshare").args(["-Urn", "--"]).arg(own).args(["--exact", test]).output().unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        return assert!(again.status.success() && said.contains("1 passed"), "{said}");
    }
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for line in [
            "link set lo up",
            "link add name eth0 type veth peer name far",
            "link set eth0 up",
            "link set far up",
            "address add 10.9.0.2/24 dev eth0",
            "route add default via 10.9.0.1",
        ] {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        inside();
    })
    .join()
    .unwrap();
}

fn is_intercepted() -> bool {
    let ipv4 = &families_here()[..1];
    // Where rules are, nothing has to be waited for.
    check::check(&Interception::default(), ipv4, Duration::from_millis(500)).is_ok()
}

#[test]
fn an_injected_pod_is_intercepted_before_it_starts_and_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = agent(&folder);
    assert_eq!(message::ask(&socket, &Request::Status, None).unwrap(), Answer::Ready);
    in_a_pods_network(
        "an_injected_pod_is_intercepted_before_it_starts_and_others_are_left_alone",
        move || {
            let missing = plugin("CHECK", &socket, "reviews-1", "u-1").unwrap_err();
            assert!(missing.message.contains("rules are missing"), "{missing:?}");
            let result = plugin("ADD", &socket, "plain", "u-2").unwrap().unwrap();
            assert_eq!(result["interfaces"][0]["name"], "eth0");
            assert!(!is_intercepted());

            let result = plugin("ADD", &socket, "reviews-1", "u-1").unwrap().unwrap();
            assert_eq!(result["interfaces"][0]["name"], "eth0");
            assert!(is_intercepted());
            assert_eq!(plugin("CHECK", &socket, "reviews-1", "u-1"), Ok(None));
            // A runtime may ask again.
            plugin("ADD", &socket, "reviews-1", "u-1").unwrap();
            assert!(is_intercepted());
        },
    );
}

#[test]
fn a_pod_that_the_api_server_does_not_know_yet_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = agent(&folder);
    in_a_pods_network("a_pod_that_the_api_server_does_not_know_yet_does_not_start", move || {
        for (name, uid, why) in [("unknown", "u-9", "404"), ("web-0", "u-new", "another pod of that name")] {
            let refused = plugin("ADD", &socket, name, uid).unwrap_err();
            assert!(refused.code == 11 && refused.message.contains(why), "{refused:?}");
        }
        assert!(!is_intercepted());
    });
}
