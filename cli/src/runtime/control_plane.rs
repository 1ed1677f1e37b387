//! Starts a mesh's control plane and waits until it answers.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use weft_proto::api::{InfoRequest, InfoResponse};

use super::name::MeshName;
use super::network::{self, DISCOVERY_PORT, NETWORK_V4, NETWORK_V6};
use super::paths::{MeshPaths, last_lines, log_file};
use super::process::{ProcessRef, Starting};
use super::record::{Isolation, MeshRecord};
use super::{client, tool};
use crate::command::{CommandError, FAILED, NOT_UP};

/// How long it may take to answer: it reads its state and signs its first certificate.
const START: Duration = Duration::from_secs(20);

/// What the user may choose, each passed on as it is.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// A directory of policy to watch.
    pub config_dir: Option<PathBuf>,
    /// A root certificate and its key.
    pub root: Option<(PathBuf, PathBuf)>,
    /// SPIFFE trust domain.
    pub trust_domain: Option<String>,
    /// How long workloads' certificates last at most.
    pub certificate_lifetime: Option<Duration>,
}

impl Choices {
    /// Those that the user made, as arguments.
    fn given(&self) -> Vec<(&'static str, String)> {
        let mut given = Vec::new();
        if let Some(directory) = &self.config_dir {
            given.push(("--config-dir", directory.display().to_string()));
        }
        if let Some((certificate, key)) = &self.root {
            given.push(("--root-cert", certificate.display().to_string()));
            given.push(("--root-key", key.display().to_string()));
        }
        if let Some(domain) = &self.trust_domain {
            given.push(("--trust-domain", domain.clone()));
        }
        if let Some(lifetime) = self.certificate_lifetime {
            given.push(("--certificate-lifetime", humantime::format_duration(lifetime).to_string()));
        }
        given
    }

    /// Names of those in which a mesh that is up is not as the user wants it.
    #[must_use]
    pub fn unlike(&self, arguments: &[String]) -> Vec<&'static str> {
        let has = |name: &str, value: &String| {
            arguments.windows(2).any(|pair| pair[0] == name && pair[1] == *value)
        };
        self.given().into_iter().filter(|(name, value)| !has(name, value)).map(|(name, _)| name).collect()
    }
}

/// The control plane's arguments: kept in the record, because after a crash it must come back at the same address.
///
/// # Errors
/// When no port is free.
pub fn arguments(
    paths: &MeshPaths,
    mesh: &MeshName,
    isolation: Isolation,
    choices: &Choices,
) -> Result<Vec<String>, CommandError> {
    let mut arguments = vec!["run".to_owned()];
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("--state-dir", paths.control_plane().display().to_string());
    add("--socket", paths.control_socket().display().to_string());
    add("--mesh", mesh.to_string());
    add("--log-file", paths.control_plane_log().display().to_string());
    if isolation == Isolation::Explicit {
        add("--listen-tls", format!("127.0.0.1:{}", free_port()?));
        add("--monitoring", format!("127.0.0.1:{}", free_port()?));
    } else {
        add("--listen-tls", format!("{}:{DISCOVERY_PORT}", network::bridge_address()));
        add("--workload-network", NETWORK_V4.to_owned());
        if network::has_ipv6() {
            add("--workload-network-v6", NETWORK_V6.to_owned());
        }
    }
    for (name, value) in choices.given() {
        add(name, value);
    }
    if isolation == Isolation::Explicit {
        arguments.push("--explicit".to_owned());
    }
    Ok(arguments)
}

/// A port of loopback that is free now.
///
/// # Errors
/// When none is.
pub fn free_port() -> Result<u16, CommandError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| CommandError::new(FAILED, format!("no port of 127.0.0.1 is free: {error}")))
}

/// Starts it in the mesh's namespaces, in a session of its own.
///
/// # Errors
/// When it cannot be started, or ends before it answers: with the end of its log.
pub async fn start(
    paths: &MeshPaths,
    record: &MeshRecord,
) -> Result<(ProcessRef, InfoResponse), CommandError> {
    // A socket of an earlier one that was killed would be taken for its successor's.
    let _ = std::fs::remove_file(paths.control_socket());
    let log = log_file(&paths.control_plane_log())?;
    let again =
        log.try_clone().map_err(|error| CommandError::new(FAILED, format!("cannot share a log: {error}")))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["internal", "control-plane"]);
    if let Some(holder) = &record.holder {
        command.arg("--holder").arg(holder.pid.to_string());
    }
    if record.isolation == Isolation::User {
        command.arg("--user");
    }
    command.arg("--").arg(&record.control_plane_program).args(&record.control_plane_arguments);
    command.stdin(Stdio::null()).stdout(log).stderr(again).current_dir("/");
    let child = command
        .spawn()
        .map_err(|error| CommandError::new(FAILED, format!("cannot start the control plane: {error}")))?;
    let mut starting = Starting::new(child);
    match answer(paths, &mut starting).await {
        Ok(info) => {
            let process =
                starting.up().ok_or_else(|| CommandError::new(FAILED, "the control plane ended at once"))?;
            Ok((process, info))
        }
        Err(error) => {
            drop(starting);
            let tail = last_lines(&paths.control_plane_log(), 12).join("\n  ");
            Err(error.hint(format!("the end of its log:\n  {tail}")))
        }
    }
}

async fn answer(paths: &MeshPaths, starting: &mut Starting) -> Result<InfoResponse, CommandError> {
    let end = tokio::time::Instant::now() + START;
    loop {
        let why = match info(paths).await {
            Ok(info) => return Ok(info),
            Err(error) => error.message,
        };
        if let Ok(Some(status)) = starting.ended() {
            return Err(CommandError::new(
                FAILED,
                format!("the control plane ended ({status}) before it answered"),
            ));
        }
        if tokio::time::Instant::now() > end {
            let seconds = START.as_secs();
            return Err(CommandError::new(
                NOT_UP,
                format!("no answer of the control plane for {seconds} s: {why}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks the control plane who it is.
///
/// # Errors
/// When it does not answer.
pub async fn info(paths: &MeshPaths) -> Result<InfoResponse, CommandError> {
    let ask = async {
        let mut client = client::connect(&paths.control_socket()).await?;
        let response = client.info(InfoRequest {}).await.map_err(|status| client::refused(&status))?;
        Ok(response.into_inner())
    };
    tokio::time::timeout(Duration::from_secs(5), ask)
        .await
        .unwrap_or_else(|_| Err(CommandError::new(NOT_UP, "the control plane accepts but does not answer")))
}

/// The program that is run as the control plane.
///
/// # Errors
/// When it is not installed.
pub fn program() -> Result<PathBuf, CommandError> {
    tool::own_program("weft-control-plane")
}
