//! The README as a newcomer reads it: what stands there is typed in, and has to work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use weft_tests::mesh::{built, said};

/// The first block of shell lines under a heading.
fn block(readme: &str, heading: &str) -> String {
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).expect("the README has the part");
    let section = section.split("\n## ").next().unwrap_or_default();
    let (_, rest) = section.split_once("\n```sh\n").expect("shell lines in it");
    rest.split_once("\n```\n").expect("an end of them").0.to_owned()
}

/// A shell in an empty directory, with the programs under test in its path and a mesh of its own.
struct Newcomer {
    directory: TempDir,
}

impl Newcomer {
    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-v", "-c", script]).current_dir(self.directory.path());
        command.env("PATH", format!("{}:{path}", built().display()));
        command.env("WEFT_HOME", self.directory.path().join("home")).env("WEFT_MESH", "readme");
        command
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _ = self.shell("weft down").output();
    }
}

#[tokio::test]
async fn the_lines_of_the_readme_work_one_after_another_as_they_are_written() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let script = block(&std::fs::read_to_string(readme).unwrap(), "Use it");
    let newcomer =
        Newcomer { directory: tempfile::Builder::new().prefix("weft-r").tempdir_in("/tmp").unwrap() };
    let output = tokio::process::Command::from(newcomer.shell(&script)).output().await.expect("bash runs");
    assert!(output.status.success(), "{script}\n----\n{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in ["Directory listing", "HTTPRoute/hello created", "hello.default"] {
        assert!(text.contains(expected), "`{expected}` is not in what it printed:\n{text}");
    }
    assert!(!newcomer.directory.path().join("home").exists(), "the last line takes everything away");
}
