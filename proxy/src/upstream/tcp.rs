//! Connections that are passed on byte by byte.

use tokio::time::Instant;
use weft_model::provenance::Provenance;

use super::connect::tls_to;
use super::failure::{AttemptFailure, FailureKind, no_cluster};
use super::limits::{Bounded, LimitGuard};
use super::{Failure, OriginalDestination, Preference, Upstreams};
use crate::balance::{ActiveGuard, Outcome, Pick};
use crate::io::Io;
use crate::proxy_protocol::{self, Ends};
use crate::telemetry::record::UpstreamRecord;
use crate::tls::ApplicationProtocol;

/// Endpoints that are tried before the client is refused. No byte was sent yet, so trying is always safe.
const ATTEMPTS: u32 = 3;

/// A connection to an upstream.
#[derive(Debug)]
pub struct TcpUpstream {
    /// The connection, TLS included.
    pub io: Io,
    /// Where it goes.
    pub record: UpstreamRecord,
    /// To be kept until the connection ends.
    pub guard: TcpGuard,
}

/// Counts a connection while it is open.
#[derive(Debug)]
pub struct TcpGuard {
    _connections: LimitGuard,
    _active: ActiveGuard,
}

impl Upstreams {
    /// Connects to an endpoint of a cluster; to another one when the first refuses.
    ///
    /// # Errors
    /// [`Failure`] with the flag for the log; the client is to be closed.
    pub async fn connect_tcp(
        &self,
        cluster: &str,
        original_dst: Option<OriginalDestination>,
        preference: Preference<'_>,
        client: Option<Ends>,
        provenance: &[Provenance],
    ) -> Result<TcpUpstream, Failure> {
        let Some(state) = self.cluster(cluster) else {
            return Err(Failure::of(no_cluster(cluster, provenance), None));
        };
        let config = state.config();
        let failed = |failure: AttemptFailure, address| {
            Failure::of(failure.into_error(&config, address, provenance), None)
        };
        if let Some(category) = state.drops() {
            let cause = format!("its load assignment drops requests of `{category}`");
            return Err(failed(AttemptFailure::unprocessed(FailureKind::Dropped, cause), None));
        }
        let Some(connections) = state.limits.enter(Bounded::Connections) else {
            let cause = "maxConnections of its circuit breaker is reached";
            return Err(failed(AttemptFailure::unprocessed(FailureKind::Overflow, cause), None));
        };
        state.note_traffic();
        let mut tried = Vec::new();
        loop {
            let pick = Pick {
                tried: &tried,
                hash: preference.hash,
                metadata_match: preference.metadata_match,
                attempts: tried.len() as u32,
                ..Pick::default()
            };
            let chosen = state.choose(&pick, original_dst, Instant::now()).await;
            let endpoint = chosen.map_err(|failure| failed(failure, None))?;
            let active = endpoint.enter();
            let now = endpoint.endpoint();
            let tls = state.tls.borrow().clone();
            let settings = tls_to(&config.transport, &now).map(|settings| (settings, &*tls));
            let preamble = config.proxy_protocol.map(|version| proxy_protocol::header(version, client));
            let connecting = Box::pin(self.connector.connect(
                now.address,
                preamble.as_deref().unwrap_or_default(),
                settings,
                ApplicationProtocol::Tcp,
                config.connect_timeout,
            ));
            let connected = match connecting.await {
                Ok(connected) => connected,
                Err(error) => {
                    state.report(&endpoint, Outcome::ConnectFailed);
                    let again = !tried.contains(&now.address) && state.endpoint_count() > tried.len() + 1;
                    tried.push(now.address);
                    if again && (tried.len() as u32) < ATTEMPTS {
                        continue;
                    }
                    return Err(failed(error.into(), Some(now.address)));
                }
            };
            state.forgive(&endpoint);
            state.report(&endpoint, Outcome::Success);
            let record = UpstreamRecord {
                cluster: config.name.clone(),
                service: config.service.clone(),
                address: now.address,
                local: connected.io.local_addr().ok(),
                workload: now.workload.clone(),
                identity: connected.peer,
                attempts: tried.len() as u32 + 1,
                service_time: None,
            };
            let guard = TcpGuard { _connections: connections, _active: active };
            return Ok(TcpUpstream { io: connected.io, record, guard });
        }
    }
}
