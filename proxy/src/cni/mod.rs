//! Interception without privileges in the pod: a chained CNI plugin (CNI specification 1.0) instead of an init
//! container.
//!
//! Two halves of one program. The [`plugin`] is what the container runtime starts for each new pod, on the host, before
//! any of the pod's containers: it hands the pod's network namespace to the agent over a Unix socket and waits. The
//! [`agent`], one a node, in a pod of the host's network, looks the pod up at the API server and, if it is injected,
//! sets the same rules that the init container would have set, from inside its network namespace. When there is no
//! answer the pod is not started, and the kubelet tries again: no pod starts unprotected (PAINS 19).
//!
//! What is intercepted, and how, stands in one place only: the arguments of the pod's init container
//! [`VALIDATION`], which proves with them (`weft-proxy intercept check …`) that the rules are in force. Should the rules
//! be missing after all (the pod came before the plugin was installed), that container fails, and [`repair`] finds it.

pub mod agent;
pub mod install;
pub mod kubernetes;
pub mod message;
pub mod plugin;
pub mod pod;
pub mod repair;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// The init container that proves that the rules are in force; a pod is to be intercepted when it has one.
pub const VALIDATION: &str = "weft-validation";
/// The plugin's file in the host's folder of CNI plugins, and its `type` in a network configuration.
pub const PLUGIN: &str = "weft-cni";
/// Where the agent listens, on the host and in its container.
pub const SOCKET: &str = "/run/weft-cni/agent.sock";

/// Arguments of `weft-proxy cni`.
#[derive(Args, Clone, Debug)]
pub struct CniArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Be the plugin: for a container runtime, which starts this program under the name `weft-cni`.
    Plugin,
    /// Install the plugin on this node and set the rules of its pods until SIGTERM.
    Agent(Box<agent::AgentArgs>),
    /// Ends well when the agent serves: for its readiness probe.
    Status {
        /// Where the agent listens.
        #[arg(long, value_name = "PATH", default_value = SOCKET)]
        socket: PathBuf,
    },
    /// Take the plugin away from this node.
    Uninstall(install::Host),
}

/// Does what the arguments say.
///
/// # Errors
/// Why not, in a sentence.
pub fn run(arguments: CniArgs) -> Result<ExitCode, String> {
    match arguments.action {
        Action::Plugin => Ok(plugin::main()),
        Action::Agent(arguments) => {
            agent::run(*arguments).map(|()| ExitCode::SUCCESS).map_err(|it| it.to_string())
        }
        Action::Status { socket } => match message::ask(&socket, &message::Request::Status, None) {
            Ok(message::Answer::Ready) => Ok(ExitCode::SUCCESS),
            Ok(other) => Err(format!("the agent says {other:?}")),
            Err(error) => Err(format!("the agent does not answer at {}: {error}", socket.display())),
        },
        Action::Uninstall(host) => host.uninstall().map(|()| ExitCode::SUCCESS).map_err(|it| it.to_string()),
    }
}
