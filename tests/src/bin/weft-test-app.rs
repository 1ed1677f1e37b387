//! The application that scenarios run in the mesh. It knows nothing of the mesh.

use clap::Parser;
use weft_tests::app::Program;

fn main() -> std::process::ExitCode {
    Program::parse().main()
}
