//! Record: metrics, access log, traces, reports.

pub mod record;

use record::{RequestRecord, TcpRecord};

/// A worker's own telemetry: counters and buffers without locks. One a worker, shared by `Rc`.
#[derive(Debug, Default)]
pub struct Recorder {}

impl Recorder {
    /// Counts and logs one exchange, after its last byte.
    pub fn request(&self, _record: &RequestRecord<'_>) {}

    /// Counts and logs a connection that opened or closed.
    pub fn tcp(&self, _record: &TcpRecord<'_>) {}
}
