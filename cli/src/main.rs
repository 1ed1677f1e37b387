//! `weft`: run services in the mesh, apply policy, query telemetry.

fn main() {}
