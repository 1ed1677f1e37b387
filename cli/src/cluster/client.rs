//! A cluster's API server.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::target::ClusterChoice;
use crate::command::{CommandError, FAILED, LACKING, NOT_FOUND, NOT_UP};

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    /// Of the API server.
    pub client: Client,
    /// Name of the context; `in-cluster` in a pod.
    pub context: String,
    /// The API server's URL.
    pub server: String,
    /// Namespace of what names none.
    pub namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig. The API server is not asked yet.
    ///
    /// # Errors
    /// Says which file, context and server cannot be used, and why.
    pub async fn connect(choice: &ClusterChoice) -> Result<Self, CommandError> {
        let kubeconfig = match &choice.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let (config, context) = match kubeconfig {
            Ok(kubeconfig) => of_context(kubeconfig, choice).await?,
            Err(error) => match Config::incluster() {
                Ok(config) if choice.kubeconfig.is_none() && choice.context.is_none() => {
                    (config, "in-cluster".to_owned())
                }
                _ => return Err(no_kubeconfig(choice, &error)),
            },
        };
        let namespace = choice.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| {
            CommandError::new(
                LACKING,
                format!("context `{context}` ({server}) cannot be used: {}", root(&error)),
            )
            .hint("check the certificates and the user of that context")
        })?;
        Ok(Self { client, context, server, namespace })
    }

    /// What the API server said, or that it did not answer, as a command's error. `what` was tried: "read the pods".
    #[must_use]
    pub fn failed(&self, what: &str, error: &kube::Error) -> CommandError {
        let place = format!("context `{}` ({})", self.context, self.server);
        match error {
            kube::Error::Api(status) if status.code == 401 => CommandError::new(
                LACKING,
                format!("cannot {what}: {place} does not accept its user's credentials: {}", status.message),
            )
            .hint("renew them, or choose another with --context"),
            kube::Error::Api(status) if status.code == 403 => {
                CommandError::new(LACKING, format!("may not {what} in {place}: {}", status.message))
                    .hint("an administrator of the cluster has to grant it")
            }
            kube::Error::Api(status) => {
                let code = if status.code == 404 { NOT_FOUND } else { FAILED };
                CommandError::new(code, format!("cannot {what}: {}", status.message))
            }
            other => {
                CommandError::new(NOT_UP, format!("cannot {what}: {place} does not answer: {}", root(other)))
                    .hint("is the cluster up, and is it reached from here?")
            }
        }
    }
}

async fn of_context(
    kubeconfig: Kubeconfig,
    choice: &ClusterChoice,
) -> Result<(Config, String), CommandError> {
    let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(context) =
        choice.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|name| !name.is_empty())
    else {
        return Err(CommandError::new(LACKING, format!("{} has no current context", source(choice)))
            .hint(format!("choose one with --context: {}", listed(&known))));
    };
    if !known.contains(&context) {
        return Err(CommandError::new(LACKING, format!("{} has no context `{context}`", source(choice)))
            .hint(format!("there is {}", listed(&known))));
    }
    let server = server_of(&kubeconfig, &context).unwrap_or_else(|| "no server".to_owned());
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
        CommandError::new(
            LACKING,
            format!("context `{context}` ({server}) of {} cannot be used: {}", source(choice), root(&error)),
        )
    })?;
    Ok((config, context))
}

fn server_of(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let named = kubeconfig.contexts.iter().find(|it| it.name == context)?;
    let cluster = &named.context.as_ref()?.cluster;
    kubeconfig.clusters.iter().find(|it| it.name == *cluster)?.cluster.as_ref()?.server.clone()
}

fn no_kubeconfig(choice: &ClusterChoice, error: &kube::config::KubeconfigError) -> CommandError {
    CommandError::new(LACKING, format!("{} cannot be used: {}", source(choice), root(error)))
        .hint("name another with --kubeconfig, or `weft up` starts a mesh on this machine")
}

fn source(choice: &ClusterChoice) -> String {
    match (&choice.kubeconfig, std::env::var("KUBECONFIG")) {
        (Some(path), _) => format!("the kubeconfig {}", path.display()),
        (None, Ok(paths)) if !paths.is_empty() => format!("the kubeconfig {paths}"),
        _ => "the kubeconfig ~/.kube/config".to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What lies at the bottom says why; what is above only that there was an error.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |it| it.source());
    chain.last().map_or_else(String::new, ToString::to_string)
}
