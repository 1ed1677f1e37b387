//! The demo's mesh, used as a person would: by the commands of this program.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use super::bookshop::{self, Service};
use super::{CommandError, FAILED};
use crate::output::{Colour, coloured, say};
use crate::runtime::paths::MeshPaths;
use crate::traffic::Summary;

/// What the chapters play on.
pub(super) struct Stage {
    program: PathBuf,
    mesh: String,
    folder: PathBuf,
}

impl Stage {
    pub(super) fn new(mesh: &str) -> Result<Self, CommandError> {
        let failed = |error: std::io::Error| CommandError::new(FAILED, format!("cannot find this program: {error}"));
        let name = mesh.parse().map_err(|error: String| CommandError::new(FAILED, error))?;
        // Within the mesh's own directory, so that `weft down` takes it away too.
        let folder = MeshPaths::of(&name)?.directory.join("bookshop");
        Ok(Self { program: std::env::current_exe().map_err(failed)?, mesh: mesh.to_owned(), folder })
    }

    /// Brings the mesh up with all services in it.
    pub(super) fn set_up(&self) -> Result<(), String> {
        let progress = Progress::new("bringing the mesh up");
        self.weft(&["down"]).map_err(|error| error.to_string())?;
        self.weft(&["up"]).map_err(|error| error.to_string())?;
        let services = bookshop::prepare(&self.folder, &|step| progress.step(step))?;
        for Service { name, version, language, command } in &services {
            progress.step(&format!("starting {name} {version} ({language})"));
            let label = format!("language={}", language.to_lowercase());
            let environment = format!("SERVICE_VERSION={version}");
            let mut words = vec![
                "run", "--detach", "--service", name, "--version", version, "--port", "9080", "--label", &label, "--env",
                &environment, "--",
            ];
            words.extend(command.iter().map(String::as_str));
            self.weft(&words).map_err(|error| error.to_string())?;
        }
        drop(progress);
        say(&format!("A mesh with {} workloads is up.", services.len()));
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--mesh").arg(&self.mesh).args(words);
        command
    }

    /// Runs `weft WORDS…` and gives what it prints.
    pub(super) fn weft(&self, words: &[&str]) -> Result<String, CommandError> {
        let shown = words.join(" ");
        let output = self
            .command(words)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| CommandError::new(FAILED, format!("cannot run weft {shown}: {error}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(CommandError::new(FAILED, format!("`weft {shown}` failed:\n{}", said(&output))))
    }

    /// As [`Stage::weft`], showing the command and what it prints.
    pub(super) fn show(&self, words: &[&str]) -> Result<String, String> {
        say(&format!("   {}", coloured(Colour::Grey, &format!("$ weft {}", words.join(" ")))));
        let text = self.weft(words).map_err(|error| error.to_string())?;
        for line in text.lines() {
            say(&format!("   {line}"));
        }
        Ok(text)
    }

    /// As [`Stage::weft`], parsing JSON.
    pub(super) fn json(&self, words: &[&str]) -> Result<Value, String> {
        let words = [words, &["-o", "json"]].concat();
        let text = self.weft(&words).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("`weft {}` gave no JSON: {error}", words.join(" ")))
    }

    /// Applies a policy and waits until all sidecars concerned have it.
    pub(super) fn apply(&self, name: &str, yaml: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        std::fs::write(&path, yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        say(&format!("   {}", coloured(Colour::Grey, &format!("$ weft apply --wait -f {name}"))));
        let path = path.display().to_string();
        self.weft(&["apply", "--wait", "-f", &path]).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Calls a URL from a workload in the mesh.
    pub(super) fn visit(&self, url: &str, more: &[&str]) -> Result<Summary, String> {
        self.visit_in_background(url, more)?.finish()
    }

    /// As [`Stage::visit`]; does not wait.
    pub(super) fn visit_in_background(&self, url: &str, more: &[&str]) -> Result<Visit, String> {
        self.traffic(&["--name", "visitor"], url, more)
    }

    /// Calls a URL from outside the mesh: a process on the same network without a sidecar.
    pub(super) fn visit_from_outside(&self, url: &str, more: &[&str]) -> Result<Summary, String> {
        self.traffic(&["--name", "outsider", "--no-sidecar"], url, more)?.finish()
    }

    fn traffic(&self, options: &[&str], url: &str, more: &[&str]) -> Result<Visit, String> {
        let program = self.program.display().to_string();
        let words = [&["run"], options, &["--", &program, "internal", "traffic", "--url", url], more].concat();
        let mut command = self.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("cannot start a visitor: {error}"))?;
        Ok(Visit(child))
    }

    /// Ends the control plane as a crash would, without a word of warning.
    pub(super) fn kill_control_plane(&self) -> Result<u64, String> {
        let info = self.json(&["info"])?;
        let pid = info["pid"].as_u64().ok_or("`weft info` gives no pid")?;
        let process = nix::unistd::Pid::from_raw(i32::try_from(pid).map_err(|_| "no pid")?);
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).map_err(|error| error.to_string())?;
        Ok(pid)
    }
}

/// Traffic that is under way.
pub(super) struct Visit(Child);

impl Visit {
    pub(super) fn finish(self) -> Result<Summary, String> {
        let output = self.0.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| format!("the visitor gave no summary:\n{}", said(&output)))
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// A line that shows what is being done: moving on a terminal, one line a step elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(first: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let progress = Self(bar);
        progress.step(first);
        progress
    }

    fn step(&self, step: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(format!("{step} …")),
            None => say(&format!("{step} …")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
