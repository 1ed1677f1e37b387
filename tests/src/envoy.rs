//! A real Envoy and our sidecar, started with the same bootstrap.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::mesh::built;
use crate::wait::until;

/// The Envoy that `scripts/fetch-envoy.sh` fetched, or the one that `WEFT_TEST_ENVOY` names.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEFT_TEST_ENVOY") {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch-envoy.sh");
    let output = Command::new(script).output().expect("the script runs");
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success() && !path.is_empty(), "set WEFT_TEST_ENVOY to a binary of Envoy 1.40");
    path.into()
}

/// Which proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The real Envoy.
    Envoy,
    /// Our sidecar.
    Weft,
}

/// Processes with files of their own, on loopback, ended when this is dropped.
#[derive(Debug)]
pub struct Bench {
    directory: TempDir,
    processes: Vec<Child>,
}

impl Default for Bench {
    fn default() -> Self {
        let directory = tempfile::Builder::new().prefix("weft-e").tempdir().expect("a directory");
        Self { directory, processes: Vec::new() }
    }
}

impl Bench {
    /// A file of it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A port that nobody listens at, below those that the kernel gives to clients, and another one each time.
    #[must_use]
    pub fn port() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Programs of tests that run side by side begin at different ones.
        let first = 20_000 + (std::process::id() % 120) as u16 * 100;
        loop {
            let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 600;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }

    /// Starts a program; what it says goes into `NAME.log`.
    pub fn start(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("setpriv is there");
        self.processes.push(child);
    }

    /// What a program said.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Starts an application that answers HTTP, and gives its address.
    pub async fn app(&mut self, version: &str) -> SocketAddr {
        let port = Self::port();
        let text = port.to_string();
        let arguments =
            ["serve", "--instance", version, "--version", version, "--bind", "127.0.0.1", "--http", &text];
        self.start(version, &built().join("weft-test-app"), &arguments);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until("the application listens", || std::net::TcpStream::connect(address).is_ok()).await;
        address
    }

    /// Starts a proxy with a bootstrap, and waits until it listens at `address`.
    pub async fn proxy(&mut self, name: &str, kind: Kind, bootstrap: &Value, address: SocketAddr) {
        let file = self.path(&format!("{name}.json"));
        std::fs::write(&file, bootstrap.to_string()).expect("a file");
        let file = file.display().to_string();
        match kind {
            Kind::Envoy => self.start(
                name,
                &binary(),
                &["-c", &file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"],
            ),
            Kind::Weft => {
                self.start(name, &built().join("weft-proxy"), &["-c", &file, "--concurrency", "1"]);
            }
        }
        until(&format!("{name} listens: {}", self.path(name).display()), || {
            std::net::TcpStream::connect(address).is_ok()
        })
        .await;
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("--- {}\n{text}", entry.file_name().to_string_lossy());
                }
            }
        }
    }
}
