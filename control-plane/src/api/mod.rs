//! What the command line asks: the `Mesh` service of `proto/weft/api/v1alpha1`. Served on a Unix socket that only the
//! mesh's owner can open, so that whoever gets here may do everything.

mod convert;
mod describe;
mod rollout;
mod service;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weft_proto::api::mesh_server::MeshServer;

use crate::authority::{CertificateAuthority, JoinTokens};
use crate::compile::WorldCompiler;
use crate::push::Push;
use crate::state::MeshState;
use crate::telemetry::Statistics;

/// Largest request taken, bytes: a folder of policies.
const MAX_REQUEST: usize = 64 << 20;

/// What the service needs of the rest.
#[derive(Clone)]
pub struct Api {
    /// Objects and workloads.
    pub state: Arc<MeshState>,
    /// Sidecars.
    pub push: Arc<Push<WorldCompiler>>,
    /// What sidecars report.
    pub statistics: Arc<Statistics>,
    /// Certificates.
    pub authority: Arc<CertificateAuthority>,
    /// How workloads prove themselves at first; none where that is not for this control plane to say.
    pub tokens: Option<Arc<JoinTokens>>,
    /// Where sidecars find the control plane: `host:port`.
    pub discovery_address: String,
    /// Since when the process runs.
    pub started: Instant,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("discovery_address", &self.discovery_address).finish_non_exhaustive()
    }
}

impl Api {
    /// The gRPC service.
    #[must_use]
    pub fn into_server(self) -> MeshServer<Self> {
        MeshServer::new(self).max_decoding_message_size(MAX_REQUEST).max_encoding_message_size(MAX_REQUEST)
    }
}

/// A bound on waiting that the caller gave in milliseconds; 0 means the default.
fn limit(milliseconds: u64, default: Duration) -> Duration {
    if milliseconds == 0 { default } else { Duration::from_millis(milliseconds) }
}

/// RFC 3339, in UTC, to the second; empty for times that a calendar cannot hold.
fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .ok()
        .and_then(|time| time.round(jiff::Unit::Second).ok())
        .map(|time| time.to_string())
        .unwrap_or_default()
}
