//! The story of a connection that is passed on byte by byte.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use weft_model::hash_policy;
use weft_model::provenance::Provenance;
use weft_model::route::WeightedCluster;
use weft_model::subset::LbMetadata;

use crate::error::{ErrorSource, ResponseFlag, ResponseFlags};
use crate::io::Io;
use crate::telemetry::record::{ConnectionRecord, TcpRecord, UpstreamRecord};
use crate::upstream::copy::{self, CopyError};
use crate::upstream::{OriginalDestination, Preference};
use crate::worker::Worker;

/// Silence after which the kernel asks whether the other end is still there. A connection without an idle time-out
/// would otherwise outlive a machine that vanished without a word for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(600);

/// Where a connection goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// One of them is drawn by weight.
    pub clusters: &'a [WeightedCluster],
    /// For clusters whose endpoint is where the client wanted to go.
    pub original: Option<OriginalDestination>,
    /// What the user wrote that led there.
    pub provenance: &'a [Provenance],
    /// A connection without a byte for so long is closed; none: never.
    pub idle_timeout: Option<Duration>,
    /// The endpoint is chosen by the client's address, in clusters that choose by a hash.
    pub hash_source_ip: bool,
    /// What endpoints must have, in clusters with subsets.
    pub metadata_match: Option<&'a LbMetadata>,
}

/// Connects and copies until both ends are done.
pub async fn proxy(worker: &Rc<Worker>, destination: &Destination<'_>, record: ConnectionRecord, io: Io) {
    let mut opened = Opened::new(worker.clone(), record);
    let Some(cluster) = draw(destination.clusters, fastrand::u64(..)) else {
        tracing::warn!(to = %opened.connection.local, "closed a connection: all weights are 0");
        return opened.fail(ResponseFlag::NoClusterFound, io);
    };
    let wanted = match destination.metadata_match {
        Some(route) if !cluster.metadata_match.is_empty() => Some(route.with(&cluster.metadata_match)),
        Some(route) => Some(route.clone()),
        None => None,
    };
    let preference = Preference {
        hash: destination.hash_source_ip.then(|| hash_policy::source_ip(opened.connection.remote.ip())),
        metadata_match: wanted.as_ref(),
    };
    let connecting = worker.upstreams.connect_tcp(
        &cluster.cluster,
        destination.original,
        preference,
        Some(opened.connection.ends()),
        destination.provenance,
    );
    let upstream = match Box::pin(connecting).await {
        Ok(upstream) => upstream,
        Err(failure) => {
            tracing::info!(client = %opened.connection.remote, "closed a connection: {}", failure.error);
            opened.upstream = failure.record;
            opened.flags = failure.flags;
            return opened.fail(failure.error.flag, io);
        }
    };
    opened.upstream = Some(upstream.record.clone());
    opened.record(false);
    io.keep_alive(KEEP_ALIVE);
    upstream.io.keep_alive(KEEP_ALIVE);
    let end = Box::pin(copy::join(io, upstream.io, destination.idle_timeout)).await;
    (opened.received, opened.sent) = (end.from_downstream, end.from_upstream);
    if let Err(error) = end.result {
        let flag = match error {
            CopyError::Idle(_) => ResponseFlag::StreamIdleTimeout,
            CopyError::Io { side: ErrorSource::Upstream, .. } => ResponseFlag::UpstreamConnectionTermination,
            CopyError::Io { .. } => ResponseFlag::DownstreamConnectionTermination,
        };
        opened.flags.insert(flag);
    }
    drop(upstream.guard);
}

/// The destination of a connection that drew `random`; none when all weights are 0.
fn draw(clusters: &[WeightedCluster], random: u64) -> Option<&WeightedCluster> {
    let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let mut rest = random.checked_rem(total)?;
    clusters.iter().find(|cluster| match rest.checked_sub(u64::from(cluster.weight)) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    })
}

/// Recorded when it is dropped, however it ended.
struct Opened {
    worker: Rc<Worker>,
    connection: ConnectionRecord,
    started_at: SystemTime,
    started: Instant,
    received: u64,
    sent: u64,
    flags: ResponseFlags,
    upstream: Option<UpstreamRecord>,
}

impl Opened {
    fn new(worker: Rc<Worker>, connection: ConnectionRecord) -> Self {
        Self {
            worker,
            connection,
            started_at: SystemTime::now(),
            started: Instant::now(),
            received: 0,
            sent: 0,
            flags: ResponseFlags::default(),
            upstream: None,
        }
    }

    /// The client learns of the failure by a reset: a plain close would pass for an empty answer.
    fn fail(mut self, flag: ResponseFlag, io: Io) {
        self.flags.insert(flag);
        io.abort();
    }

    fn record(&self, closed: bool) {
        self.worker.recorder.tcp(&TcpRecord {
            connection: &self.connection,
            started_at: self.started_at,
            duration: self.started.elapsed(),
            closed,
            bytes_received: self.received,
            bytes_sent: self.sent,
            flags: self.flags,
            details: "",
            upstream: self.upstream.as_ref(),
        });
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.record(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_by_weight() {
        let clusters =
            [WeightedCluster::new("a", 3), WeightedCluster::new("none", 0), WeightedCluster::new("b", 1)];
        let drawn: Vec<&str> = (0..5).map(|random| &*draw(&clusters, random).unwrap().cluster).collect();
        assert_eq!(drawn, ["a", "a", "a", "b", "a"]);
        assert!(draw(&clusters[1..2], 7).is_none());
    }
}
