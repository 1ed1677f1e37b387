//! The sidecar: its command line, and when it is ready.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};

use super::log::Log;
use super::paths::{MeshPaths, WorkloadPaths, private_directory, write_private};
use super::record::Isolation;
use super::specification::Start;
use super::{egress, files, tool};
use crate::command::{CommandError, FAILED};

#[cfg(test)]
#[path = "sidecar_tests.rs"]
mod tests;

/// The arguments of `weft-proxy`.
#[must_use]
pub fn arguments(start: &Start, paths: &WorkloadPaths, admin_socket: &Path) -> Vec<String> {
    let (asked, given) = (&start.specification, &start.registration);
    let mut arguments = vec!["run".to_owned()];
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    let file = |name: &str| paths.directory.join(name).display().to_string();
    add("--node", given.node.clone());
    add("--discovery-address", given.discovery_address.clone());
    add("--trust-bundle", file("trust-bundle.pem"));
    add("--join-token-file", file("join-token"));
    add("--trust-domain", given.trust_domain.clone());
    add("--state-dir", file("proxy"));
    add("--admin-socket", admin_socket.display().to_string());
    add("--access-log", "-".to_owned());
    add("--drain-time", format!("{}s", asked.drain_seconds));
    if start.isolation == Isolation::Explicit {
        add("--mode", "explicit".to_owned());
        add("--admin-address", format!("127.0.0.1:{}", start.explicit_admin));
        add("--explicit-outbound", format!("127.0.0.1:{}", start.explicit_outbound));
        for (port, inbound) in &start.explicit_inbound {
            add("--explicit-inbound", format!("{port}=127.0.0.1:{inbound}"));
        }
    } else {
        add("--mode", "intercept".to_owned());
        // Nobody but the mesh gives names there.
        add("--dns-own-domain", files::DOMAIN.to_owned());
        for resolver in &asked.upstream_resolvers {
            add("--upstream-resolver", resolver.clone());
        }
    }
    if start.egress {
        let mesh = MeshPaths { directory: start.directory.clone() };
        arguments.extend(egress::sidecar_arguments(&mesh.egress_socket()));
    }
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    for port in &asked.ports {
        add("--app-port", port.port.to_string());
    }
    for (key, value) in [
        ("workload", &given.name),
        ("service", &asked.service),
        ("version", &asked.version),
        ("namespace", &given.namespace),
        ("service_account", &given.service_account),
    ] {
        if !value.is_empty() {
            add("--metadata", format!("{key}={value}"));
        }
    }
    arguments
}

/// Writes what the sidecar reads at its start.
///
/// # Errors
/// Names the file.
pub fn write_files(start: &Start, paths: &WorkloadPaths) -> Result<(), CommandError> {
    private_directory(&paths.directory.join("proxy"))?;
    write_private(&paths.directory.join("trust-bundle.pem"), start.registration.trust_bundle.as_bytes())?;
    write_private(&paths.directory.join("join-token"), start.registration.join_token.as_bytes())
}

/// Starts it, with no more power than marking its sockets takes. It ends with the supervisor, whatever befalls that.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(
    start: &Start,
    paths: &WorkloadPaths,
    admin_socket: &Path,
    log: &Log,
) -> Result<Child, CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::new(
            FAILED,
            format!("cannot start the sidecar {}: {error}", start.proxy_program.display()),
        )
    };
    let (output, error) = log.outputs().map_err(|error| failed(&error))?;
    let mut command = Command::new(tool::tool("setpriv")?);
    command.args(["--pdeathsig", "KILL", "--no-new-privs"]);
    if start.isolation != Isolation::Explicit {
        command.args(["--inh-caps=-all", "--bounding-set=-all,+net_admin"]);
    }
    command.arg("--").arg(&start.proxy_program).args(arguments(start, paths, admin_socket));
    // Its own process group: an interrupt from the terminal is for the application; the sidecar leaves last.
    command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(error).current_dir("/");
    command.spawn().map_err(|error| failed(&error))
}

/// Waits until it says that it is ready.
///
/// # Errors
/// When it ends, or is not ready after `most`.
pub async fn ready(
    child: &mut Child,
    admin_socket: &Path,
    isolation: Isolation,
    most: Duration,
) -> Result<(), CommandError> {
    let end = tokio::time::Instant::now() + most;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(CommandError::new(
                FAILED,
                format!("the sidecar ended before it was ready ({status})"),
            ));
        }
        if tokio::time::timeout(Duration::from_secs(2), says_ready(admin_socket, isolation)).await == Ok(true)
        {
            return Ok(());
        }
        if tokio::time::Instant::now() > end {
            return Err(CommandError::new(
                FAILED,
                format!("the sidecar is not ready after {} s", most.as_secs()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// Asks over its admin socket; when that is not there, at the readiness port of this network.
async fn says_ready(admin_socket: &Path, isolation: Isolation) -> bool {
    if let Ok(stream) = UnixStream::connect(admin_socket).await {
        return answers_ok(stream).await;
    }
    if isolation == Isolation::Explicit {
        // On the host's loopback this port may be anybody's.
        return false;
    }
    match TcpStream::connect(("127.0.0.1", 15021)).await {
        Ok(stream) => answers_ok(stream).await,
        Err(_) => false,
    }
}

async fn answers_ok(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let request = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut status = [0; 12];
    stream.write_all(request).await.is_ok()
        && stream.read_exact(&mut status).await.is_ok()
        && status.starts_with(b"HTTP/1.")
        && status.ends_with(b" 200")
}
