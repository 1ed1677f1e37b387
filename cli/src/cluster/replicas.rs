//! The control plane's replicas, each asked on its pod's loopback address through the API server's port-forward.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join_all;
use http::Uri;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};
use weft_proto::api::mesh_client::MeshClient;

use super::Cluster;
use crate::command::{CommandError, FAILED, NOT_UP};
use crate::install::names::{NAMESPACE, port};
use crate::runtime::client::sized;

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;

/// Which pods are the control plane's, whatever their revision.
const SELECTOR: &str = "app.kubernetes.io/name=weft,app.kubernetes.io/component=control-plane";

/// A control plane that shows no sign of life for so long while it is asked is hung, or not reached any more.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// A replica of which nobody knows whether it is there is waited for no longer.
const REACH: Duration = Duration::from_secs(3);

/// A replica that can be asked.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Name of its pod.
    pub pod: String,
    /// Its API.
    pub mesh: MeshClient<Channel>,
    refusal: Refusal,
}

/// What the kubelet said of a port that it could not reach.
type Refusal = Arc<Mutex<Option<String>>>;

impl Replica {
    /// A failed call as a command's error: what the control plane said, or why it was not reached.
    #[must_use]
    pub fn failed(&self, status: tonic::Status) -> CommandError {
        let pod = &self.pod;
        if std::error::Error::source(&status).is_none() {
            return CommandError::from(status).within(pod);
        }
        let said = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = said.unwrap_or_else(|| "the connection through the API server ended".to_owned());
        CommandError::new(NOT_UP, format!("the control plane in {pod} does not answer: {}", why.trim()))
            .hint(format!("`kubectl -n {NAMESPACE} logs {pod}` shows what it does"))
    }
}

impl Cluster {
    /// All replicas that are ready, each connected. One that cannot be reached is told on standard error, unless none
    /// can.
    ///
    /// # Errors
    /// When there is none.
    pub async fn replicas(&self) -> Result<Vec<Replica>, CommandError> {
        let (replicas, mut errors) = self.reach_replicas().await?;
        if replicas.is_empty() && !errors.is_empty() {
            return Err(errors.swap_remove(0));
        }
        for error in errors {
            eprintln!("weft: {error}; its part is missing in what follows");
        }
        Ok(replicas)
    }

    /// All replicas that are ready and could be connected to, and why not of the others. Together there is at least one.
    ///
    /// # Errors
    /// When none is ready.
    pub(super) async fn reach_replicas(&self) -> Result<(Vec<Replica>, Vec<CommandError>), CommandError> {
        let pods = self.control_plane_pods().await?;
        let (ready, unheard) = askable(&pods);
        let reached = join_all(ready.iter().map(|pod| self.replica(name(pod)))).await;
        let (mut replicas, mut errors) = (Vec::new(), Vec::new());
        for result in reached {
            match result {
                Ok(replica) => replicas.push(replica),
                Err(error) => errors.push(error),
            }
        }
        // Nobody says that these are there, so that it is no error when they are not.
        let reaching = unheard.iter().map(|pod| tokio::time::timeout(REACH, self.replica(name(pod))));
        replicas.extend(join_all(reaching).await.into_iter().flatten().flatten());
        if replicas.is_empty() && errors.is_empty() {
            return Err(self.no_replica(&pods));
        }
        Ok((replicas, errors))
    }

    /// Asks all replicas at once. A replica that fails fails the whole, so that no answer lacks a part unseen.
    ///
    /// # Errors
    /// When there is no replica, or one refuses.
    pub async fn ask_all<T, F>(
        &self,
        ask: impl Fn(MeshClient<Channel>) -> F,
    ) -> Result<Vec<(String, T)>, CommandError>
    where
        F: Future<Output = Result<T, tonic::Status>>,
    {
        let replicas = self.replicas().await?;
        let answers = join_all(replicas.into_iter().map(|replica| {
            let answer = ask(replica.mesh);
            async move {
                let answer =
                    answer.await.map_err(|status| CommandError::from(status).within(&replica.pod))?;
                Ok((replica.pod, answer))
            }
        }));
        answers.await.into_iter().collect()
    }

    /// The control plane's pods, ready or not.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn control_plane_pods(&self) -> Result<Vec<Pod>, CommandError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let list = pods.list(&ListParams::default().labels(SELECTOR)).await;
        Ok(list.map_err(|error| self.failed(&format!("list the pods of {NAMESPACE}"), &error))?.items)
    }

    fn no_replica(&self, pods: &[Pod]) -> CommandError {
        let place = format!("context `{}` ({})", self.context, self.server);
        if pods.is_empty() {
            return CommandError::new(NOT_UP, format!("{place} has no control plane in {NAMESPACE}"))
                .hint("`weft install` brings it there");
        }
        let count = pods.len();
        CommandError::new(NOT_UP, format!("none of the control plane's {count} pods in {place} is ready"))
            .hint(format!("`kubectl -n {NAMESPACE} describe pods` says why"))
    }

    async fn replica(&self, pod: &str) -> Result<Replica, CommandError> {
        let (stream, refusal) = self.forward(NAMESPACE, pod, port::API).await?;
        let connector = Once(Arc::new(Mutex::new(Some(stream))));
        // The name is for the request's :authority only: the connection is there.
        let endpoint = Endpoint::from_static("http://control-plane")
            .http2_keep_alive_interval(SIGN_OF_LIFE)
            .keep_alive_timeout(SIGN_OF_LIFE);
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| {
            CommandError::new(
                NOT_UP,
                format!("the control plane in {pod} does not answer on {}: {error}", port::API),
            )
        })?;
        Ok(Replica { pod: pod.to_owned(), mesh: sized(channel), refusal })
    }

    /// A connection to a port of a pod's loopback address.
    ///
    /// # Errors
    /// When the API server refuses to forward.
    pub(super) async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<(Forwarded, Refusal), CommandError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("forward a port of the pod {pod} in {namespace}");
        let mut forwarder =
            pods.portforward(pod, &[port]).await.map_err(|error| self.failed(&what, &error))?;
        let refusal = Refusal::default();
        if let Some(error) = forwarder.take_error(port) {
            let refusal = refusal.clone();
            tokio::spawn(async move {
                if let Some(said) = error.await {
                    refusal.lock().unwrap_or_else(PoisonError::into_inner).replace(said);
                }
            });
        }
        let stream =
            forwarder.take_stream(port).ok_or_else(|| CommandError::new(FAILED, format!("cannot {what}")))?;
        Ok((Box::pin(stream), refusal))
    }
}

/// Bytes to and from a pod.
pub type Forwarded = Pin<Box<dyn Stream>>;

/// What a port-forward gives.
pub trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// Hands out a connection that is there already. HTTP/2 needs no second; when it breaks, so does the command.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<Forwarded>>>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<Forwarded>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || std::io::Error::new(std::io::ErrorKind::NotConnected, "the forwarded connection ended");
        std::future::ready(stream.map(TokioIo::new).ok_or_else(gone))
    }
}

/// A pod's name.
#[must_use]
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Whether a pod's readiness says yes, and it is not about to go.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    has(pod, "Ready")
}

/// The pods that are ready, and those that are not though their containers are: after the API server was away,
/// Kubernetes takes pods for not ready until it hears of their nodes again, and they serve sidecars as they did before.
fn askable(pods: &[Pod]) -> (Vec<&Pod>, Vec<&Pod>) {
    let there = pods.iter().filter(|pod| has(pod, "Ready") || has(pod, "ContainersReady"));
    there.partition(|pod| has(pod, "Ready"))
}

/// Whether a condition of a pod holds, and it is not about to go.
fn has(pod: &Pod, condition: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|it| it.type_ == condition && it.status == "True")
}
