//! `docs/getting-started-kubernetes.md`, run as it stands.

use std::process::Command;

use weft_tests::cluster::{kubectl, program, try_kubectl};

const PAGE: &str = include_str!("../../../docs/getting-started-kubernetes.md");

/// The page's shell, in its order.
fn script() -> String {
    let mut script = String::from("set -eu\n");
    let mut within = false;
    for line in PAGE.lines() {
        match line {
            "```sh" => within = true,
            "```" => within = false,
            _ if within => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[tokio::test]
#[ignore = "needs a cluster: make test-kubernetes"]
async fn every_line_of_the_getting_started_page_works() {
    let folder = tempfile::tempdir().unwrap();
    // The names that the page uses: `weft`, and the `kubectl` of this cluster.
    std::os::unix::fs::symlink(program("weft"), folder.path().join("weft")).unwrap();
    if let Some(kubectl) = std::env::var_os("WEFT_TEST_KUBECTL") {
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", kubectl.display());
        let path = folder.path().join("kubectl");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    // `weft install` of the page is an upgrade to the settings that the tests' installation has.
    let script = match std::env::var("WEFT_TEST_INSTALL") {
        Ok(settings) => script().replace("weft install --wait", &format!("weft install --wait {settings}")),
        Err(_) => script(),
    };
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).env("PATH", path);
    if std::env::var_os("WEFT_TEST_CONTEXT").is_some() {
        // The page means the current context, and so it is in a kubeconfig of its own.
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubectl(&["config", "view", "--minify", "--flatten", "--raw"])).unwrap();
        bash.env("KUBECONFIG", kubeconfig);
    }
    let output = bash.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let pods = try_kubectl(&["-n", "hello", "get", "pods", "-o", "wide"]).unwrap_or_else(|why| why);
        let _ = try_kubectl(&["delete", "namespace", "hello", "--ignore-not-found", "--wait=false"]);
        panic!("{}\n{out}\n{err}\n{pods}", output.status);
    }
    assert!(out.contains("hello.hello.svc.cluster.local"), "weft stat shows the service:\n{out}");
}
