//! `weft-control-plane`: compiles policy and pushes it to sidecars.

use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;
use weft_control_plane::app;
use weft_control_plane::log::{Log, filter_of};
use weft_control_plane::settings::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Command::Run(settings) = Cli::parse().command;
    let filter = tracing_subscriber::EnvFilter::try_new(filter_of(&settings.log));
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("weft-control-plane: --log `{}`: {error}", settings.log);
            return ExitCode::from(2);
        }
    };
    let log = match Log::open(settings.log_file.as_deref(), settings.log_limit) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("weft-control-plane: {error}");
            return ExitCode::FAILURE;
        }
    };
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(Mutex::new(log)).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weft-control-plane: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(app::run(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-control-plane: {error}");
            ExitCode::FAILURE
        }
    }
}
