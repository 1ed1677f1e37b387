//! A machine of a scenario's own: a network that a mesh is started in, with servers that are no part of the mesh.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::mesh::built;
use crate::wait::until;

/// The machine's address: of TEST-NET-1 (RFC 5737), so that it is nobody's.
pub const MACHINE: &str = "192.0.2.7";

/// Network and mount namespaces with servers at [`MACHINE`]; they end with the value.
#[derive(Debug)]
pub struct Machine {
    server: Child,
    files: TempDir,
}

impl Machine {
    /// With `weft-test-app serve SERVES…` at [`MACHINE`], and `resolver` as the machine's.
    #[must_use]
    pub fn start(serves: &[&str], resolver: &str) -> Self {
        let files = tempfile::Builder::new().prefix("weft-m").tempdir_in("/tmp").expect("a directory");
        let resolv_conf = files.path().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {resolver}\n")).expect("written");
        let script = format!(
            "mount --bind {} /etc/resolv.conf && ip link set lo up && ip address add {MACHINE}/32 dev lo && \
             touch {} && exec {} serve --bind {MACHINE} {}",
            resolv_conf.display(),
            files.path().join("up").display(),
            built().join("weft-test-app").display(),
            serves.join(" "),
        );
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(files.path().join("log")).expect("created"))
            .spawn()
            .expect("unshare runs");
        Self { server, files }
    }

    /// Waits until it is set up.
    pub async fn up(&self) {
        let up: PathBuf = self.files.path().join("up");
        until("the machine is set up", || up.exists()).await;
    }

    /// What its servers have printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    /// Puts a command into it.
    #[must_use]
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("nsenter");
        for kind in ["net", "mnt"] {
            let option = if kind == "mnt" { "mount" } else { kind };
            command.arg(format!("--{option}=/proc/{}/ns/{kind}", self.server.id()));
        }
        command.arg("--").arg(program);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
