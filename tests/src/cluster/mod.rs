//! A real cluster: `make test-kubernetes` brings one up, or the user names the context of one (`WEFT_TEST_CONTEXT`).
//! Everything is done as a user does it, with `kubectl` and `weft`.

mod app;
mod namespace;
mod pod;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub use app::{App, Kind};
pub use namespace::Namespace;
pub use pod::{Forward, LoadPod, Pod};

/// Exit code of `weft` when a sidecar has not acknowledged.
const INCOMPLETE: i32 = 6;

/// Where Weft is installed.
pub const SYSTEM: &str = "weft-system";
/// Who rolls out what `weft install` made.
pub const CONTROL_PLANE: &str = "deployment/weft-control-plane";

/// Label selector of its pods.
pub const PODS: &str = "app.kubernetes.io/name=weft,app.kubernetes.io/component=control-plane";

/// `kubectl` with its arguments, such as `["get", "pods"]`.
///
/// # Errors
/// What it wrote to standard error.
pub fn try_kubectl<S: AsRef<OsStr>>(arguments: &[S]) -> Result<String, String> {
    answer(run(&mut kubectl_command(arguments), ""))
}

/// As [`try_kubectl`]; fails the test.
#[track_caller]
pub fn kubectl<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    try_kubectl(arguments).unwrap_or_else(|why| panic!("{:?}: {why}", words(arguments)))
}

/// `kubectl ARGUMENTS -f -` with this text.
///
/// # Errors
/// What it wrote to standard error.
pub fn try_kubectl_with(text: &str, arguments: &[&str]) -> Result<String, String> {
    answer(run(kubectl_command(arguments).args(["-f", "-"]), text))
}

/// `weft` with its arguments: exit code, standard output, standard error.
#[must_use]
pub fn weft(arguments: &[&str]) -> (i32, String, String) {
    weft_with("", arguments)
}

/// As [`weft`], with a text for its standard input.
#[must_use]
pub fn weft_with(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program("weft"));
    let chosen = arguments.iter().any(|argument| matches!(*argument, "--context" | "--kubeconfig"));
    if let Some(context) = std::env::var_os("WEFT_TEST_CONTEXT").filter(|_| !chosen) {
        command.arg("--context").arg(context);
    }
    let output = run(command.args(arguments), text);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// `weft`, which must succeed; its standard output.
#[track_caller]
pub fn weft_ok(arguments: &[&str]) -> String {
    let (code, out, err) = weft(arguments);
    assert!(code == 0, "weft {}: exit code {code}\n{out}\n{err}", arguments.join(" "));
    out
}

/// `weft proxy status`, also while some sidecar has not acknowledged yet, which its exit code tells.
#[track_caller]
pub fn proxy_status() -> String {
    let (code, out, err) = weft(&["proxy", "status"]);
    assert!(code == 0 || code == INCOMPLETE, "weft proxy status: exit code {code}\n{out}\n{err}");
    out
}

/// One of the workspace's programs, built beside this one.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("an executable");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("target/debug/deps");
    folder.join(name)
}

fn kubectl_command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(std::env::var_os("WEFT_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into()));
    if let Ok(context) = std::env::var("WEFT_TEST_CONTEXT") {
        command.args(["--context", &context]);
    }
    command.args(arguments);
    command
}

fn run(command: &mut Command, text: &str) -> Output {
    let shown = format!("{command:?}");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = text.to_owned();
    // Beside reading, so that neither waits for the other.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    // A program that has read enough closes its end.
    let _ = writer.join();
    output
}

fn answer(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn words<S: AsRef<OsStr>>(arguments: &[S]) -> Vec<String> {
    arguments.iter().map(|it| it.as_ref().to_string_lossy().into_owned()).collect()
}
