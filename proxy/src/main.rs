//! `weft-proxy`: the sidecar.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weft_proxy::settings::{Command, CommandLine};
use weft_proxy::{interception, process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let filter = EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match command_line.command {
        Command::Intercept(arguments) => {
            interception::command::run(*arguments).map_err(|error| error.to_string())
        }
        Command::Run(arguments) => match arguments.check() {
            Ok(settings) => process::run(settings).map_err(|error| error.to_string()),
            Err(mistakes) => {
                eprintln!("{mistakes}\nSee `weft-proxy run --help`.");
                // As clap exits for arguments that it refuses by itself.
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
