//! `weft`: run services in the mesh, apply policy, query telemetry.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_cli::command::main()
}
