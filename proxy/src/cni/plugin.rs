//! The plugin: what the container runtime starts for a pod (<https://www.cni.dev/docs/spec/>).
//!
//! It makes no interface and changes no result: what the plugins before it have done is passed on. Whatever goes wrong
//! while a pod is made is an error, so that the pod does not start.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::message::{self, Answer, PodRef, Request};
use super::{PLUGIN, SOCKET};

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;

/// Versions of the specification that are spoken: those with chained results.
pub const VERSIONS: [&str; 4] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// The plugin's own part of a network configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// [`PLUGIN`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the agent listens.
    pub socket: PathBuf,
    /// Pods of these namespaces start without asking: those that the node and the mesh themselves need to come up.
    pub exclude_namespaces: Vec<String>,
}

impl Configuration {
    /// With the agent at the usual place.
    #[must_use]
    pub fn new(exclude_namespaces: Vec<String>) -> Self {
        Self { kind: PLUGIN.to_owned(), socket: SOCKET.into(), exclude_namespaces }
    }
}

/// An error, as the specification wants it told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CniError {
    /// The specification's code.
    pub code: u16,
    /// In a sentence.
    pub message: String,
}

/// Variables of the environment are missing or wrong.
const INVALID_ENVIRONMENT: u16 = 4;
/// The input is no JSON.
const NOT_DECODED: u16 = 6;
/// The configuration is wrong.
const INVALID_CONFIGURATION: u16 = 7;
/// It may work later.
const TRY_AGAIN: u16 = 11;

/// What the runtime says in the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the configuration from standard input, does what the environment says, and writes the result.
#[must_use]
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    let outcome = match read {
        Ok(_) => run(&|name| std::env::var(name).ok(), &input),
        Err(error) => {
            Err(CniError { code: NOT_DECODED, message: format!("cannot read the configuration: {error}") })
        }
    };
    let (output, code) = match outcome {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(CniError { code, message }) => {
            let version = version_of(&serde_json::from_slice(&input).unwrap_or_default());
            let told = json!({ "cniVersion": version, "code": code, "msg": format!("{PLUGIN}: {message}") });
            (Some(told), ExitCode::FAILURE)
        }
    };
    if let Some(output) = output
        && writeln!(std::io::stdout(), "{output}").is_err()
    {
        return ExitCode::FAILURE;
    }
    code
}

/// One call of the runtime; gives what is to be written.
///
/// # Errors
/// Why the pod must not start.
pub fn run(variable: Variable<'_>, input: &[u8]) -> Result<Option<Value>, CniError> {
    let command = needed(variable, "CNI_COMMAND")?;
    let decoded = serde_json::from_slice(input);
    if command == "VERSION" {
        let version = version_of(&decoded.unwrap_or_default());
        return Ok(Some(json!({ "cniVersion": version, "supportedVersions": VERSIONS })));
    }
    // What has gone needs nothing of us, whatever the state of the node.
    if command == "DEL" {
        return Ok(None);
    }
    let input: Value = decoded.map_err(|error| CniError {
        code: NOT_DECODED,
        message: format!("the network configuration is no JSON: {error}"),
    })?;
    let invalid = |message: String| CniError { code: INVALID_CONFIGURATION, message };
    let configuration: Configuration =
        serde_json::from_value(input.clone()).map_err(|error| invalid(error.to_string()))?;
    let Some(result) = input.get("prevResult") else {
        return Err(invalid(format!(
            "{PLUGIN} makes no network of its own: it belongs behind another plugin, in the list `plugins`"
        )));
    };
    match command.as_str() {
        "ADD" => {
            ask(variable, &configuration, Request::Add)?;
            Ok(Some(result.clone()))
        }
        "CHECK" => ask(variable, &configuration, Request::Check).map(|()| None),
        other => Err(CniError {
            code: INVALID_ENVIRONMENT,
            message: format!("CNI_COMMAND is {other}; there are ADD, DEL, CHECK and VERSION"),
        }),
    }
}

fn ask(
    variable: Variable<'_>,
    configuration: &Configuration,
    request: fn(PodRef) -> Request,
) -> Result<(), CniError> {
    let Some(pod) = pod(&variable("CNI_ARGS").unwrap_or_default()) else {
        // Not for Kubernetes, so that nobody has asked for a sidecar.
        return Ok(());
    };
    if configuration.exclude_namespaces.contains(&pod.namespace) {
        return Ok(());
    }
    let path = needed(variable, "CNI_NETNS")?;
    let namespace = File::open(&path).map_err(|error| CniError {
        code: INVALID_ENVIRONMENT,
        message: format!("cannot open the pod's network namespace {path} (CNI_NETNS): {error}"),
    })?;
    let (socket, named) = (&configuration.socket, format!("pod {}/{}", pod.namespace, pod.name));
    let later = |message: String| CniError { code: TRY_AGAIN, message };
    match message::ask(socket, &request(pod), Some(namespace.as_fd())) {
        Ok(Answer::Intercepted { .. } | Answer::Skipped { .. }) => Ok(()),
        Ok(Answer::Failed { reason }) => Err(later(format!("{named} is not started yet: {reason}"))),
        Ok(Answer::Ready) => {
            Err(later(format!("{named} is not started yet: the agent did not answer the question")))
        }
        Err(error) => Err(later(format!(
            "{named} is not started, because whether it needs interception cannot be found out: Weft's CNI agent on \
             this node does not answer at {}: {error}; see the DaemonSet weft-cni in weft-system",
            socket.display()
        ))),
    }
}

/// The pod in `CNI_ARGS`, as kubelets name it: `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;…`.
fn pod(arguments: &str) -> Option<PodRef> {
    let value = |key: &str| {
        let mut pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == key).map(|(_, value)| value.to_owned())
    };
    Some(PodRef {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID").unwrap_or_default(),
    })
}

fn needed(variable: Variable<'_>, name: &str) -> Result<String, CniError> {
    variable(name).filter(|value| !value.is_empty()).ok_or_else(|| CniError {
        code: INVALID_ENVIRONMENT,
        message: format!("{name} is not set: this is a CNI plugin, to be started by a container runtime"),
    })
}

fn version_of(configuration: &Value) -> String {
    configuration.get("cniVersion").and_then(Value::as_str).unwrap_or("1.0.0").to_owned()
}
