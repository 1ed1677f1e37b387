//! Generates the code of our own `.proto` files, with a protobuf compiler written in Rust: nothing to install.
use std::io;

const FILES: [&str; 4] = [
    "proto/istio/ca.proto",
    "proto/istio/nds.proto",
    "proto/weft/api/v1alpha1/mesh.proto",
    "proto/weft/telemetry/v1alpha1/telemetry.proto",
];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;
    tonic_prost_build::configure()
        .type_attribute(".weft", "#[derive(serde::Serialize)]")
        .bytes(".")
        .compile_fds(descriptors)
}
