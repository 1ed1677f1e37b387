//! The services of the demo: which languages this machine has, and how each service is built and started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The files of the demo, within the program: it needs no checkout.
const FILES: [(&str, &str); 8] = [
    ("shop.py", include_str!("../../../../deploy/demo/shop.py")),
    ("reviews.py", include_str!("../../../../deploy/demo/reviews.py")),
    ("reviews.js", include_str!("../../../../deploy/demo/reviews.js")),
    ("Reviews.java", include_str!("../../../../deploy/demo/Reviews.java")),
    ("ratings.go", include_str!("../../../../deploy/demo/ratings.go")),
    ("ratings.py", include_str!("../../../../deploy/demo/ratings.py")),
    ("details.rs", include_str!("../../../../deploy/demo/details.rs")),
    ("stock.c", include_str!("../../../../deploy/demo/stock.c")),
];

/// A service that runs in the mesh.
pub(super) struct Service {
    pub name: &'static str,
    pub version: &'static str,
    pub language: &'static str,
    pub command: Vec<String>,
}

/// Writes the files into `folder` and builds what has to be built. `progress` is told of each step.
///
/// # Errors
/// A sentence that says what is missing or what failed.
pub(super) fn prepare(folder: &Path, progress: &dyn Fn(&str)) -> Result<Vec<Service>, String> {
    let unwritable = |error: io::Error| format!("cannot write to {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(unwritable)?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text).map_err(unwritable)?;
    }
    let python = find("python3").ok_or("python3 is missing; install the package python3")?;
    let path = |name: &str| folder.join(name).display().to_string();
    let script = |name: &str| vec![python.display().to_string(), path(name)];
    let service = |name, version, language, command| Service { name, version, language, command };

    let mut services = vec![service("shop", "v1", "Python", script("shop.py"))];
    progress("building details (Rust)");
    let rustc = find("rustc").ok_or("rustc is missing; install Rust from https://rustup.rs")?;
    build(Command::new(rustc).args(["--edition", "2024", "-O", "-o", &path("details"), &path("details.rs")]))?;
    services.push(service("details", "v1", "Rust", vec![path("details")]));

    services.push(service("reviews", "v1", "Python", script("reviews.py")));
    services.push(match find("node") {
        Some(node) => service("reviews", "v2", "JavaScript", vec![node.display().to_string(), path("reviews.js")]),
        None => service("reviews", "v2", "Python", script("reviews.py")),
    });
    services.push(match find("java") {
        Some(java) => service("reviews", "v3", "Java", vec![java.display().to_string(), path("Reviews.java")]),
        None => service("reviews", "v3", "Python", script("reviews.py")),
    });
    let go = find("go").and_then(|go| {
        progress("building ratings (Go)");
        let mut command = Command::new(go);
        command.current_dir(folder).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0");
        if std::env::var_os("HOME").is_none() {
            command.env("GOCACHE", folder.join("go-cache"));
        }
        build(command.args(["build", "-o", &path("ratings"), "ratings.go"])).ok()
    });
    services.push(match go {
        Some(()) => service("ratings", "v1", "Go", vec![path("ratings")]),
        None => service("ratings", "v1", "Python", script("ratings.py")),
    });
    progress("building stock (C)");
    let cc = find("cc").ok_or("a C compiler is missing; install the package gcc")?;
    build(Command::new(cc).args(["-O2", "-o", &path("stock"), &path("stock.c")]))?;
    services.push(service("stock", "v1", "C", vec![path("stock")]));
    Ok(services)
}

fn build(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot run {shown}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{shown} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// A program of the search path.
fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}
