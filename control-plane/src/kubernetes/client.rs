//! The way to the API server: as a pod, or by a kubeconfig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::error::chain;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

/// A server that does not take a connection in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no way to the API server; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not in a pod, or not one with a service account.
    #[error(
        "this is no pod of a cluster: {0}; give --kubeconfig FILE, or run as a pod whose service account token is mounted"
    )]
    NoPod(String),
    /// The file cannot be read, or says something impossible.
    #[error("the kubeconfig {} cannot be used{}: {reason}", path.display(), of_context(context.as_deref()))]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// The context that was asked for.
        context: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// TLS settings and the like.
    #[error("no connection can be made to {server}: {reason}")]
    Unusable {
        /// The API server's address.
        server: String,
        /// What is wrong.
        reason: String,
    },
}

fn of_context(context: Option<&str>) -> String {
    context.map(|context| format!(" with the context `{context}`")).unwrap_or_default()
}

/// A client of the API server: by a kubeconfig if one is given, else as the pod that this is.
///
/// # Errors
/// [`ClientError`]. Whether the server answers is not asked.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ClientError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let failed = |reason: String| ClientError::Kubeconfig {
                path: path.to_owned(),
                context: context.map(str::to_owned),
                reason,
            };
            let file = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
            let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(chain(&error)))?
        }
        None => Config::incluster().map_err(|error| ClientError::NoPod(chain(&error)))?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let server = config.cluster_url.to_string();
    Client::try_from(config).map_err(|error| ClientError::Unusable { server, reason: super::explain(&error) })
}
