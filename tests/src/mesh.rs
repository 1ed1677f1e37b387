//! A mesh of the real programs, used as a user does: through `weft`. Each has a home and a name of its own, so that
//! scenarios run side by side; nothing of it is left when it is dropped, also when the scenario fails.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::client::Client;
use crate::machine::Machine;
use crate::wait::{eventually, until};
use crate::workload::{Run, Workload};

/// The programs of a mesh, and the application of scenarios.
const PROGRAMS: [&str; 4] = ["weft", "weft-control-plane", "weft-proxy", "weft-test-app"];
/// An ordinary user: `nobody`.
pub const ORDINARY_USER: u32 = 65534;
/// Meshes that one test program keeps up at the same time: each is a dozen processes.
static PLACES: Semaphore = Semaphore::const_new(3);

/// A mesh that is being put together.
#[derive(Debug, Default)]
#[must_use]
pub struct Plan {
    user: Option<u32>,
    options: Vec<String>,
    environment: BTreeMap<String, String>,
    files: Vec<(String, String)>,
    watched: bool,
    machine: Option<Machine>,
}

impl Plan {
    /// On a machine of its own.
    pub fn on(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Run by an ordinary user. Needs root, to become one.
    pub fn ordinary_user(mut self) -> Self {
        self.user = Some(ORDINARY_USER);
        self
    }

    /// An option of `weft up`.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// A variable in the environment of all that is started.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a watched directory, and a file in it from the start.
    pub fn watching(mut self, name: &str, yaml: &str) -> Self {
        self.watched = true;
        self.files.push((name.to_owned(), yaml.to_owned()));
        self
    }

    /// Brings it up.
    pub async fn up(self) -> Mesh {
        let place = PLACES.acquire().await.expect("never closed");
        if let Some(machine) = &self.machine {
            machine.up().await;
        }
        let mesh = Mesh::prepare(self, place);
        let mut arguments = vec!["up"];
        let watched = mesh.watched_directory().display().to_string();
        if mesh.watched {
            arguments.extend(["--config-dir", &watched]);
        }
        arguments.extend(mesh.options.iter().map(String::as_str));
        mesh.good(&arguments).await;
        mesh
    }
}

/// A mesh that is up.
#[derive(Debug)]
pub struct Mesh {
    directory: TempDir,
    programs: PathBuf,
    name: String,
    user: Option<u32>,
    options: Vec<String>,
    environment: BTreeMap<String, String>,
    watched: bool,
    machine: Option<Machine>,
    _place: SemaphorePermit<'static>,
}

impl Mesh {
    /// A mesh with nothing in it.
    pub async fn up() -> Self {
        Plan::default().up().await
    }

    /// A mesh with something special.
    pub fn plan() -> Plan {
        Plan::default()
    }

    fn prepare(plan: Plan, place: SemaphorePermit<'static>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Short: Unix sockets are below.
        let directory = tempfile::Builder::new().prefix("weft-s").tempdir_in("/tmp").expect("a directory");
        let mut programs = built();
        if let Some(user) = plan.user {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
                .expect("readable by all");
            // Where the programs were built an ordinary user may not be able to look.
            let copies = directory.path().join("bin");
            fs::create_dir(&copies).expect("a directory");
            for program in PROGRAMS {
                // By another process: one that is open for writing here cannot be run by what is forked meanwhile.
                let copied = Command::new("cp").arg(programs.join(program)).arg(&copies).status();
                assert!(copied.expect("cp runs").success(), "{program} cannot be copied");
            }
            programs = copies;
            fs::create_dir(directory.path().join("base")).expect("a directory");
            chown(directory.path().join("base"), Some(user), Some(user)).expect("given to the user");
        } else {
            fs::create_dir(directory.path().join("base")).expect("a directory");
        }
        let watched = directory.path().join("watched");
        fs::create_dir(&watched).expect("a directory");
        for (name, yaml) in &plan.files {
            fs::write(watched.join(name), yaml).expect("written");
        }
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let Plan { user, options, environment, watched, machine, .. } = plan;
        Self { directory, programs, name, user, options, environment, watched, machine, _place: place }
    }

    /// Where one of the programs is.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Whether workloads live on loopback, without namespaces.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.options.iter().any(|it| it == "--explicit")
    }

    /// `WEFT_HOME`. It is not there before `weft up` and must not be after `weft down`.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("base/home")
    }

    /// Where this mesh's state is.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home().join(&self.name)
    }

    /// The directory that the control plane watches, if planned so.
    #[must_use]
    pub fn watched_directory(&self) -> PathBuf {
        self.directory.path().join("watched")
    }

    /// A command of this mesh's `weft`.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let start = |program: &Path| match &self.machine {
            None => Command::new(program),
            Some(machine) => machine.command(program),
        };
        let mut command = match self.user {
            None => start(&self.program("weft")),
            Some(user) => {
                let mut command = start(Path::new("setpriv"));
                command.args([
                    format!("--reuid={user}"),
                    format!("--regid={user}"),
                    "--clear-groups".to_owned(),
                ]);
                command.arg(self.program("weft"));
                command
            }
        };
        command.args(arguments).current_dir("/").env("WEFT_HOME", self.home()).env("WEFT_MESH", &self.name);
        command.envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// Runs `weft ARGUMENTS…`.
    pub async fn weft(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(arguments));
        command.output().await.expect("weft runs")
    }

    /// What it printed; fails the test with all it said when it did not end with 0.
    pub async fn good(&self, arguments: &[&str]) -> String {
        let output = self.weft(arguments).await;
        assert!(output.status.success(), "weft {}: {}", arguments.join(" "), said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// As [`Mesh::good`], of a command that prints JSON.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.good(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
    }

    /// Runs `weft ARGUMENTS… -f -` with YAML on its standard input.
    pub async fn weft_with(&self, arguments: &[&str], yaml: &str) -> Output {
        let command = self.command(&[arguments, &["-f", "-"]].concat());
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("weft runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(yaml.as_bytes()).await.expect("read");
        drop(stdin);
        child.wait_with_output().await.expect("weft ends")
    }

    /// Applies and waits until every sidecar concerned has acknowledged; gives what was printed.
    pub async fn apply(&self, yaml: &str) -> String {
        let output = self.weft_with(&["apply", "--wait"], yaml).await;
        assert!(output.status.success(), "weft apply: {}\n{yaml}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A workload of a service.
    pub fn run(&self, service: &str) -> Run<'_> {
        Run::new(self, service)
    }

    /// A workload that serves nothing: a test speaks from within it.
    pub async fn client(&self, name: &str) -> Client {
        self.client_with(name, &[]).await
    }

    /// A client on the mesh's network without a sidecar.
    pub async fn outsider(&self, name: &str) -> Client {
        self.client_with(name, &["--no-sidecar"]).await
    }

    /// As [`Mesh::client`], with options of `weft run`.
    pub async fn client_with(&self, name: &str, options: &[&str]) -> Client {
        let socket = self.directory.path().join("base").join(format!("{name}.dial"));
        let (program, path) =
            (self.program("weft-test-app").display().to_string(), socket.display().to_string());
        let run = ["run", "--detach", "--name", name, "--service-account", name];
        self.good(&[&run, options, &["--", &program, "dial", &path]].concat()).await;
        until("the dialer listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
        Client::new(socket, None)
    }

    /// A workload that runs already.
    #[must_use]
    pub fn workload(&self, name: &str) -> Workload<'_> {
        Workload::named(self, name)
    }

    /// A file of a workload; empty when there is none.
    #[must_use]
    pub fn workload_file(&self, name: &str, file: &str) -> String {
        let bytes =
            fs::read(self.state().join(format!("workloads/{name}.default/{file}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What the servers of the machine have printed, where the mesh has a machine of its own.
    #[must_use]
    pub fn machine_log(&self) -> String {
        self.machine.as_ref().map(Machine::log).unwrap_or_default()
    }

    /// What the control plane wrote so far.
    #[must_use]
    pub fn control_plane_log(&self) -> String {
        fs::read_to_string(self.state().join("control-plane.log")).unwrap_or_default()
    }

    /// `kill -9` of the control plane.
    pub async fn kill_control_plane(&self) {
        let pid = self.json(&["info"]).await["pid"].as_i64().expect("a pid");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        let gone = PathBuf::from(format!("/proc/{pid}/fd"));
        until("the control plane is gone", || {
            fs::read_dir(&gone).is_err() || fs::read_dir(&gone).is_ok_and(|it| it.count() == 0)
        })
        .await;
    }

    /// `weft up` again, after [`Mesh::kill_control_plane`].
    pub async fn bring_back_control_plane(&self) {
        self.good(&["up"]).await;
    }

    /// Waits until every sidecar is connected and in step.
    pub async fn in_step(&self) {
        eventually("every sidecar is in step", async || {
            let output = self.weft(&["proxy", "status"]).await;
            if output.status.success() { Ok(()) } else { Err(said(&output)) }
        })
        .await;
    }

    /// Processes, links of the machine, mounts and files by which the mesh could be told.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        let home = self.home().display().to_string();
        let mut traces: Vec<String> = fs::read_dir("/proc")
            .expect("/proc is there")
            .filter_map(|entry| {
                let process = entry.ok()?.path();
                let read = |name: &str| {
                    fs::read(process.join(name)).map(|it| String::from_utf8_lossy(&it).into_owned())
                };
                let (line, environment) = (read("cmdline").ok()?, read("environ").unwrap_or_default());
                (line.contains(&home) || environment.contains(&home)).then(|| line.replace('\0', " "))
            })
            .collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
        traces.extend(mounts.lines().filter(|line| line.contains(&home)).map(str::to_owned));
        let links = fs::read_to_string("/proc/net/dev").expect("/proc is there");
        let ours = |line: &&str| ["weft", "wv"].iter().any(|it| line.trim_start().starts_with(it));
        traces.extend(links.lines().filter(ours).map(str::to_owned));
        if self.home().exists() {
            traces.push(home);
        }
        traces
    }

    /// What it wrote down about itself, in a file of its state.
    #[must_use]
    pub fn written(&self, file: &str) -> Value {
        let path = self.state().join(file);
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn print_logs(&self) {
        eprintln!("---- {} ----\n{}", self.name, end_of(&self.state().join("control-plane.log")));
        for workload in fs::read_dir(self.state().join("workloads")).into_iter().flatten().flatten() {
            for file in ["supervisor.log", "app.log", "proxy.log"] {
                let path = workload.path().join(file);
                eprintln!("---- {} {file} ----\n{}", workload.file_name().display(), end_of(&path));
            }
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        match self.command(&["down"]).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("weft down: {}", said(&output)),
            Err(error) => eprintln!("weft down: {error}"),
        }
    }
}

/// Everything a command said.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stderr), text(&output.stdout))
}

fn end_of(path: &Path) -> String {
    let text = fs::read(path).map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Where Cargo puts programs: test programs are in `deps` beside them.
#[must_use]
pub fn built() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let directory = own.ancestors().nth(2).expect("two directories above").to_path_buf();
    for program in PROGRAMS {
        assert!(
            directory.join(program).is_file(),
            "{} is not there: build the programs first with `cargo build --workspace --bins`",
            directory.join(program).display()
        );
    }
    directory
}
