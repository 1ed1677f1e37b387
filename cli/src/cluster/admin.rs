//! A page of a sidecar's administration endpoint in a pod, through the API server's port-forward.

use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Cluster;
use super::replicas::name;
use crate::command::{CommandError, FAILED};
use crate::runtime::admin;

/// Where a sidecar serves it, on its pod's loopback address.
const PORT: u16 = 15000;

impl Cluster {
    /// Status and body of the page at `path`, which is percent-encoded already.
    ///
    /// # Errors
    /// When the sidecar does not answer.
    pub async fn page(&self, pod: &Pod, path: &str) -> Result<(u16, String), CommandError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (mut stream, _) = self.forward(namespace, name(pod), PORT).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let exchanged = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_end(&mut answer).await
        };
        let failed = |why: &str| {
            CommandError::new(FAILED, format!("the sidecar of {} does not answer: {why}", name(pod)))
        };
        exchanged.await.map_err(|error| failed(&error.to_string()))?;
        admin::parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| failed("its answer is not HTTP"))
    }
}
