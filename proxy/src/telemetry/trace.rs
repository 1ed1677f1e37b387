//! Spans to an OpenTelemetry collector, over OTLP. Only what was sampled takes this way.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weft_model::listener::Direction;

use super::TelemetryError;
use super::labels::{Call, Own};
use super::record::RequestRecord;
use super::tally::failed;
use crate::filters::trace_context::Span;

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;

/// Most spans of one message.
const BATCH: usize = 512;

/// Where spans go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceSettings {
    /// Of a collector's gRPC receiver, such as `http://collector.observability:4317`.
    pub endpoint: String,
    /// The resource's `service.name`, such as `reviews.default`.
    pub service: String,
    /// Spans that wait at most; more are dropped and counted.
    pub queue: usize,
    /// How long a span waits for others at most.
    pub delay: Duration,
    /// How long a collector may take for a message.
    pub timeout: Duration,
}

impl TraceSettings {
    /// 2,048 spans, 5 s, 10 s: the defaults of OpenTelemetry's batches and exporters.
    #[must_use]
    pub fn new(endpoint: &str, service: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            service: service.to_owned(),
            queue: 2_048,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Debug)]
enum Message {
    Span(Box<SpanData>),
    Flush(oneshot::Sender<()>),
}

/// Takes spans to the task that exports them.
#[derive(Debug)]
pub(super) struct SpanQueue {
    queue: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    scope: InstrumentationScope,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

pub(super) fn start(settings: TraceSettings, own: &Own) -> Result<SpanQueue, TelemetryError> {
    let refused = |reason: String| TelemetryError::Traces { endpoint: settings.endpoint.clone(), reason };
    if !settings.endpoint.starts_with("http://") {
        let reason = "it must begin with http:// (TLS to collectors is not supported: use one on this node)";
        return Err(refused(reason.to_owned()));
    }
    let runtime = tokio::runtime::Handle::try_current()
        .map_err(|_| refused("a mistake of this proxy: there is no runtime to export on".to_owned()))?;
    let builder = SpanExporter::builder().with_tonic();
    let builder = builder.with_endpoint(settings.endpoint.clone()).with_timeout(settings.timeout);
    let mut exporter = builder.build().map_err(|error| refused(error.to_string()))?;
    exporter.set_resource(&resource(&settings.service, own));
    let (queue, waiting) = mpsc::channel(settings.queue.max(1));
    let counts = Arc::new(Counts::default());
    runtime.spawn(export(exporter, waiting, counts.clone(), settings.delay, settings.timeout));
    let scope = InstrumentationScope::builder("weft-proxy").with_version(env!("CARGO_PKG_VERSION")).build();
    Ok(SpanQueue { queue, counts, scope })
}

fn resource(service: &str, own: &Own) -> Resource {
    let workload = &own.workload;
    let attributes = [
        ("service.namespace", &workload.namespace),
        ("service.version", &workload.version),
        ("service.instance.id", &workload.name),
    ];
    let known = attributes.into_iter().filter(|(_, value)| !value.is_empty());
    let attributes = known.map(|(name, value)| KeyValue::new(name, value.clone()));
    Resource::builder().with_service_name(service.to_owned()).with_attributes(attributes).build()
}

impl SpanQueue {
    /// Never waits: what does not fit is counted.
    pub(super) fn export(&self, own: &Own, record: &RequestRecord<'_>, span: Span) {
        let data = Box::new(span_data(own, record, span, self.scope.clone()));
        if self.queue.try_send(Message::Span(data)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ready when all spans that were handed over before have been exported, or lost.
    pub(super) async fn flush(&self) {
        let (done, ready) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            drop(ready.await);
        }
    }

    /// Spans that a collector took, and spans lost.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.exported.load(Ordering::Relaxed), self.counts.dropped.load(Ordering::Relaxed))
    }
}

/// Ends when nobody can hand over spans any more.
async fn export(
    exporter: SpanExporter,
    mut waiting: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    delay: Duration,
    timeout: Duration,
) {
    let mut failing = false;
    let mut open = true;
    while open {
        let mut batch = Vec::new();
        let mut flushes = Vec::new();
        let mut deadline = None;
        while batch.len() < BATCH && flushes.is_empty() {
            let message = match deadline {
                None => waiting.recv().await,
                Some(deadline) => match tokio::time::timeout_at(deadline, waiting.recv()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            match message {
                Some(Message::Span(span)) => {
                    deadline.get_or_insert_with(|| Instant::now() + delay);
                    batch.push(*span);
                }
                Some(Message::Flush(done)) => flushes.push(done),
                None => {
                    open = false;
                    break;
                }
            }
        }
        let spans = batch.len() as u64;
        if spans > 0 {
            let result = tokio::time::timeout(timeout, exporter.export(batch)).await;
            let error = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer in {}", humantime::format_duration(timeout))),
            };
            let count = if error.is_none() { &counts.exported } else { &counts.dropped };
            count.fetch_add(spans, Ordering::Relaxed);
            if let Some(error) = &error
                && !failing
            {
                tracing::warn!("spans are lost, the collector does not take them: {error}");
            }
            failing = error.is_some();
        }
        for done in flushes {
            let _ = done.send(());
        }
    }
}

/// Names and attributes as Istio's sidecars send them
/// (<https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/>).
fn span_data(own: &Own, record: &RequestRecord<'_>, span: Span, scope: InstrumentationScope) -> SpanData {
    let Span { trace, span, parent, .. } = span;
    let inbound = record.connection.direction == Direction::Inbound;
    let context = SpanContext::new(
        TraceId::from(trace),
        SpanId::from(span),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let failure = failed(&Call::of_request(record));
    SpanData {
        span_context: context,
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: parent.is_some(),
        span_kind: if inbound { SpanKind::Server } else { SpanKind::Client },
        name: Cow::Owned(format!("{}/*", bounded(record.authority, 256))),
        start_time: record.started_at,
        end_time: record.started_at + record.duration,
        attributes: attributes(own, record),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failure { Status::error(record.details) } else { Status::Unset },
        instrumentation_scope: scope,
    }
}

fn attributes(own: &Own, record: &RequestRecord<'_>) -> Vec<KeyValue> {
    let header = |name: &str| {
        let value = record.request_headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default();
        bounded(&String::from_utf8_lossy(value), 256).to_owned()
    };
    let scheme = header("x-forwarded-proto");
    let scheme = if scheme.is_empty() { "http" } else { &scheme };
    let mut all = vec![
        KeyValue::new("component", "proxy"),
        KeyValue::new("http.method", record.method.as_str().to_owned()),
        KeyValue::new(
            "http.url",
            bounded(&format!("{scheme}://{}{}", record.authority, record.path), 256).to_owned(),
        ),
        KeyValue::new("http.protocol", format!("{:?}", record.protocol)),
        KeyValue::new("http.status_code", i64::from(record.status.map_or(0, |status| status.as_u16()))),
        KeyValue::new("request_size", record.bytes_received as i64),
        KeyValue::new("response_size", record.bytes_sent as i64),
        KeyValue::new("response_flags", record.flags.to_string()),
        KeyValue::new("peer.address", record.connection.remote.ip().to_string()),
        KeyValue::new("istio.canonical_service", own.workload.service.clone()),
        KeyValue::new("istio.canonical_revision", own.workload.version.clone()),
        KeyValue::new("istio.namespace", own.workload.namespace.clone()),
        KeyValue::new("istio.cluster_id", own.workload.cluster.clone()),
    ];
    let mut known = |name: &'static str, value: String| {
        if !value.is_empty() {
            all.push(KeyValue::new(name, value));
        }
    };
    known("guid:x-request-id", header("x-request-id"));
    known("user_agent", header("user-agent"));
    known("upstream_cluster.name", record.cluster.to_owned());
    known(
        "upstream_address",
        record.upstream.map(|upstream| upstream.address.to_string()).unwrap_or_default(),
    );
    known("weft.route", record.route.to_owned());
    known("weft.provenance", record.provenance.first().map(ToString::to_string).unwrap_or_default());
    if let Some(status) = super::labels::grpc_status(record) {
        all.push(KeyValue::new("grpc.status_code", i64::from(status)));
    }
    all
}

/// At most `max` bytes, whole characters.
fn bounded(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
