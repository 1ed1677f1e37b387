//! One file per command. To add one: its file with `Args` and `run`, and its line in `commands!`.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tonic::transport::Channel;
use weft_proto::api::mesh_client::MeshClient;

use crate::runtime::client;
use crate::runtime::name::MeshName;
use crate::runtime::paths::MeshPaths;
use crate::runtime::record;

/// Makes the modules, the enum that clap parses and the dispatch. A command's help text is its `Args`' doc comment.
macro_rules! commands {
    ($($(#[$attribute:meta])* $variant:ident => $module:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// Every command.
        #[derive(clap::Subcommand)]
        pub enum Command {
            $($(#[$attribute])* #[allow(missing_docs, reason = "the command's `Args` carry the text")] $variant($module::Args),)*
        }

        impl Command {
            /// Does it. The result is the process's exit code.
            ///
            /// # Errors
            /// What went wrong, what to do, and the exit code that says so to a script.
            pub fn run(self, globals: &Globals) -> CommandResult {
                match self { $(Self::$variant(args) => $module::run(args, globals),)* }
            }
        }
    };
}

commands! {
    Up => up,
    Down => down,
    Run => run,
    Ps => ps,
    Logs => logs,
    Apply => apply,
    Inject => inject,
    Get => get,
    Delete => delete,
    Stat => stat,
    Proxy => proxy,
    Info => info,
    Install => install,
    Uninstall => uninstall,
    Check => check,
    Demo => demo,
    Completion => completion,
    #[command(hide = true)]
    Internal => internal,
}

/// Weft: a service mesh that runs anywhere, from a laptop without root to Kubernetes.
#[derive(Parser)]
#[command(
    name = "weft",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 done; 1 refused or failed; 2 wrong arguments; 3 the mesh is not up; 4 not found; \
                  5 this machine lacks something; 6 applied, but a sidecar refused it or did not answer in time.\n`weft run` ends with its application's exit code, or 125 when \
                  the application could not be started."
)]
pub struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Arguments of every command.
#[derive(clap::Args, Clone, Debug)]
pub struct Globals {
    /// Which mesh of this machine [default: default]. Without this and without --context, one that is up is meant before
    /// the cluster of the kubeconfig.
    #[arg(long, global = true, env = "WEFT_MESH", value_name = "NAME")]
    mesh: Option<MeshName>,
    /// Ask the cluster of this context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace [default: the context's; on this machine `default`].
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

impl Globals {
    /// The mesh of this machine that is meant.
    #[must_use]
    pub fn mesh(&self) -> MeshName {
        self.mesh.clone().unwrap_or_default()
    }

    /// The mesh of this machine that was named.
    #[must_use]
    pub fn named_mesh(&self) -> Option<&MeshName> {
        self.mesh.as_ref()
    }

    /// The namespace that was named.
    #[must_use]
    pub fn named_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The namespace of objects on this machine that name none.
    #[must_use]
    pub fn local_namespace(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }
}

/// What a command ends with.
pub type CommandResult = Result<ExitCode, CommandError>;

/// Refused or failed.
pub const FAILED: u8 = 1;
/// Wrong arguments (clap's code too).
pub const USAGE: u8 = 2;
/// The mesh is not up, or its control plane does not answer.
pub const NOT_UP: u8 = 3;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 4;
/// This machine lacks a tool or a permission.
pub const LACKING: u8 = 5;

/// Applied, but a sidecar refused it or did not answer in time.
pub const INCOMPLETE: u8 = 6;

/// Why a command failed, for people and for scripts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError {
    /// What is wrong, and where.
    pub message: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
    /// The process's exit code, never 0.
    pub code: u8,
}

impl CommandError {
    /// An error without a hint.
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With where it happened, before the message.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl std::error::Error for CommandError {}

/// Runs a command's asynchronous part on this thread. No other thread starts, so namespaces can still be entered.
///
/// # Errors
/// The command's own, or that the system gives no event queue.
pub fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    event_loop()?.block_on(work)
}

/// What [`block_on`] runs on, for who needs it before there is anything to wait for.
///
/// # Errors
/// When the system gives no event queue.
pub fn event_loop() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(FAILED, format!("cannot start the event loop: {error}")))
}

/// Asks the control plane of a mesh of this machine, and gives what `ask` makes of the answers.
///
/// # Errors
/// When the mesh is not up, or its control plane does not answer or refuses.
pub fn ask<T, F>(paths: &MeshPaths, ask: impl FnOnce(MeshClient<Channel>) -> F) -> Result<T, CommandError>
where
    F: Future<Output = Result<T, CommandError>>,
{
    record::running_mesh(paths)?;
    block_on(async { ask(client::connect(&paths.control_socket()).await?).await })
}

/// The command line, with the name that it was called by: `kubectl weft` runs the same program as `kubectl-weft`.
fn parse() -> Cli {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let mut command = Cli::command();
    if called.file_name().is_some_and(|name| name == "kubectl-weft") {
        command = command.bin_name("kubectl weft");
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = parse();
    match cli.command.run(&cli.globals) {
        Ok(code) => code,
        Err(error) => {
            // Where nobody can be told, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "weft: {error}");
            ExitCode::from(error.code)
        }
    }
}
