//! `weft-proxy`: the sidecar.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};
use weft_proxy::admin::SetLogLevel;
use weft_proxy::settings::{Command, CommandLine};
use weft_proxy::{egress, interception, process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let log_level = log_to_standard_error();
    let outcome = match command_line.command {
        Command::Intercept(arguments) => {
            interception::command::run(*arguments).map_err(|error| error.to_string())
        }
        Command::Egress(arguments) => egress::run(&arguments).map_err(|error| error.to_string()),
        Command::Run(arguments) => match arguments.check() {
            Ok(settings) => process::run(&settings, log_level).map_err(|error| error.to_string()),
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

/// Logs by the filter in `WEFT_LOG`, such as `info,weft_proxy::listener=debug`; returns how to change it.
fn log_to_standard_error() -> SetLogLevel {
    let filter = EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Arc::new(move |wanted| {
        if let Some(text) = wanted {
            let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        handle.with_current(ToString::to_string).map_err(|error| error.to_string())
    })
}
