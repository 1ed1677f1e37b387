//! `weft-proxy`: the sidecar.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};
use weft_proxy::admin::SetLogLevel;
use weft_proxy::log_lines::LogLines;
use weft_proxy::settings::{Command, CommandLine, EnvoyArgs, RunMode};
use weft_proxy::{cni, egress, interception, pod, process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A container runtime starts its plugins by name and gives no arguments.
    let program = std::env::args_os().next().unwrap_or_default();
    if Path::new(&program).file_name().is_some_and(|name| name == cni::PLUGIN) {
        return cni::plugin::main();
    }
    let command_line = CommandLine::parse();
    let (log, log_level) = match log_to_standard_error(command_line.envoy.log_level.as_deref()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: no log can be written: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(command) = command_line.command else {
        let outcome = with_bootstrap(&command_line.envoy, log_level);
        log.flush(LAST_LINES);
        return outcome;
    };
    let mut failure = 1;
    let outcome = match command {
        Command::Intercept(arguments) => interception::command::run(*arguments).map_err(|error| {
            failure = error.exit_code();
            error.to_string()
        }),
        Command::Cni(arguments) => match cni::run(arguments) {
            Ok(code) => {
                log.flush(LAST_LINES);
                return code;
            }
            Err(error) => Err(error),
        },
        Command::Wait(arguments) => pod::wait::run(&arguments),
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
    log.flush(LAST_LINES);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(failure)
        }
    }
}

/// Serves by an Envoy bootstrap, or checks it.
fn with_bootstrap(arguments: &EnvoyArgs, log_level: SetLogLevel) -> ExitCode {
    if !arguments.is_given() {
        eprintln!("error: --config-path or --config-yaml is missing, or a command\nSee `weft-proxy --help`.");
        return ExitCode::from(2);
    }
    let bootstrap = match arguments.bootstrap() {
        Ok(bootstrap) => bootstrap,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.mode == RunMode::Validate {
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    match process::run(&arguments.settings(bootstrap), log_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How long the end waits for the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Logs by the filter in `WEFT_LOG`, such as `info,weft_proxy::listener=debug`; returns how to change it.
fn log_to_standard_error(level: Option<&str>) -> io::Result<(LogLines, SetLogLevel)> {
    let filter = match level {
        Some(level) => EnvFilter::try_new(level).map_err(io::Error::other)?,
        None => EnvFilter::try_from_env("WEFT_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let colour = io::IsTerminal::is_terminal(&io::stderr());
    let log = LogLines::start(io::stderr())?;
    let lines = fmt::layer().with_ansi(colour).with_writer(log.clone());
    tracing_subscriber::registry().with(filter).with(lines).init();
    let level: SetLogLevel = Arc::new(move |wanted| {
        if let Some(text) = wanted {
            let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        handle.with_current(ToString::to_string).map_err(|error| error.to_string())
    });
    Ok((log, level))
}
