//! Generates the code of our own `.proto` files, and the descriptors of Envoy's, with a protobuf compiler written in
//! Rust: nothing to install.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use protox::file::{File, FileResolver, GoogleFileResolver};

const FILES: [&str; 4] = [
    "proto/istio/ca.proto",
    "proto/istio/nds.proto",
    "proto/weft/api/v1alpha1/mesh.proto",
    "proto/weft/telemetry/v1alpha1/telemetry.proto",
];

/// Where Envoy's `.proto` files and those that they import lie in the package `envoy-types`.
const ENVOY_ROOTS: [&str; 8] = [
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "cel-spec/proto",
    "client_model",
    "opentelemetry-proto",
    "ratelimit/api",
];

/// The folders of Envoy's messages that have a JSON form here, besides those that they import: what a bootstrap may hold
/// and what the admin endpoint shows. A message of another folder is not supported, whatever it says.
const ENVOY_FOLDERS: [&str; 37] = [
    "admin/v3",
    "config/bootstrap/v3",
    "extensions/access_loggers/file",
    "extensions/access_loggers/grpc",
    "extensions/access_loggers/open_telemetry",
    "extensions/access_loggers/stream",
    "extensions/clusters/aggregate",
    "extensions/clusters/dns",
    "extensions/clusters/original_dst",
    "extensions/filters/http/buffer",
    "extensions/filters/http/cors",
    "extensions/filters/http/ext_authz",
    "extensions/filters/http/fault",
    "extensions/filters/http/grpc_stats",
    "extensions/filters/http/grpc_web",
    "extensions/filters/http/header_mutation",
    "extensions/filters/http/health_check",
    "extensions/filters/http/jwt_authn",
    "extensions/filters/http/local_ratelimit",
    "extensions/filters/http/ratelimit",
    "extensions/filters/http/rbac",
    "extensions/filters/http/router",
    "extensions/filters/http/stateful_session",
    "extensions/filters/listener",
    "extensions/filters/network/connection_limit",
    "extensions/filters/network/http_connection_manager",
    "extensions/filters/network/local_ratelimit",
    "extensions/filters/network/rbac",
    "extensions/filters/network/tcp_proxy",
    "extensions/http/stateful_session",
    "extensions/load_balancing_policies",
    "extensions/path",
    "extensions/retry",
    "extensions/transport_sockets",
    "extensions/upstreams",
    "service/discovery/v3",
    "service/health/v3",
];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;
    tonic_prost_build::configure()
        .type_attribute(".weft", "#[derive(serde::Serialize)]")
        .bytes(".")
        .compile_fds(descriptors)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    fs::write(out.join("envoy.descriptors"), envoy_descriptors()?)
}

/// The descriptors of Envoy's messages, without comments: what the JSON form of a message is read and written by.
fn envoy_descriptors() -> io::Result<Vec<u8>> {
    let protos = envoy_types()?.join("proto");
    let roots: Vec<PathBuf> = ENVOY_ROOTS.iter().map(|root| protos.join(root)).collect();
    let mut files = Vec::new();
    for folder in ENVOY_FOLDERS {
        collect(&roots[0].join("envoy").join(folder), &mut files)?;
    }
    files.sort();
    let files = files.iter().filter_map(|file| file.strip_prefix(&roots[0]).ok().map(Path::to_path_buf));
    let files: Vec<PathBuf> = files.collect();
    let mut compiler = protox::Compiler::with_file_resolver(Sources(roots));
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(&files).map_err(io::Error::other)?;
    // With the options that are extensions: they say which fields hold secrets.
    Ok(compiler.encode_file_descriptor_set())
}

/// Opens files below the roots. Envoy's extensions name `envoy.extensions.common` by its last part alone, which means the
/// innermost package of that name that a file *imports*; our compiler takes the innermost of all that it has read.
struct Sources(Vec<PathBuf>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let Some(path) = self.0.iter().map(|root| root.join(name)).find(|path| path.exists()) else {
            return GoogleFileResolver::new().open_file(name);
        };
        let source = fs::read_to_string(path).map_err(protox::Error::new)?;
        let source = source.replace(" common.ratelimit.", " .envoy.extensions.common.ratelimit.");
        File::from_source(name, &source)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// The folder of the package that our xDS types come from, as cargo knows it: so the descriptors are of that version.
fn envoy_types() -> io::Result<PathBuf> {
    let cargo = env::var_os("CARGO").ok_or_else(|| io::Error::other("cargo sets CARGO"))?;
    let target = env::var("TARGET").map_err(io::Error::other)?;
    let ask = |more: &[&str]| {
        let arguments = ["metadata", "--format-version=1", "--filter-platform", &target];
        Command::new(&cargo).args(arguments).args(more).output()
    };
    // Everything is there when the whole workspace is built; what is not, cargo fetches.
    let mut metadata = ask(&["--offline"])?;
    if !metadata.status.success() {
        metadata = ask(&[])?;
    }
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).map_err(|error| {
        io::Error::other(format!("cargo metadata: {error}: {}", String::from_utf8_lossy(&metadata.stderr)))
    })?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|package| package["name"] == "envoy-types");
    let manifest = manifest.filter_map(|package| package["manifest_path"].as_str()).next();
    let folder = manifest.and_then(|path| Path::new(path).parent());
    folder.map(Path::to_path_buf).ok_or_else(|| io::Error::other("cargo metadata does not list envoy-types"))
}
