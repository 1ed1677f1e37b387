use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as WireValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as WireKind;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status as GrpcStatus};

use super::super::test_support::{Sample, inbound, outbound, settings, worker};
use super::super::{Telemetry, TelemetrySettings};
use super::*;

/// A collector that hands what it gets to the test.
struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, GrpcStatus> {
        self.0.send(request.into_inner()).await.map_err(|_| GrpcStatus::unavailable("over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (send, received) = mpsc::channel(8);
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(send)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (format!("http://{address}"), received)
}

fn traced(sample: Sample, span: u64, parent: Option<u64>, sampled: bool) -> Sample {
    Sample { span: Some(Span { trace: 0xabcd, span, parent, sampled }), ..sample }
}

fn telemetry(traces: TraceSettings) -> Telemetry {
    Telemetry::new(TelemetrySettings { traces: Some(traces), ..settings() }).unwrap()
}

fn text<'a>(attributes: &'a [WireValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match &found.value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text),
        _ => None,
    }
}

#[tokio::test]
async fn sampled_requests_become_spans_and_others_do_not() {
    let (endpoint, mut received) = collector().await;
    let telemetry = telemetry(TraceSettings::new(&endpoint, "productpage.default"));
    let _worker = worker(&telemetry, |recorder| {
        recorder.request(&traced(outbound(), 2, Some(1), true).request());
        recorder.request(&traced(inbound(), 3, None, true).request());
        recorder.request(&traced(outbound(), 4, None, false).request());
        recorder.request(&outbound().request());
    });
    telemetry.flush().await;
    let batch = received.recv().await.unwrap();
    let [resource_spans] = &batch.resource_spans[..] else { panic!("{batch:?}") };
    let resource = resource_spans.resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), Some("productpage.default"));
    let spans = &resource_spans.scope_spans[0].spans;
    assert_eq!(spans.len(), 2);
    let client = &spans[0];
    assert_eq!(client.trace_id, 0xabcd_u128.to_be_bytes());
    assert_eq!(client.span_id, 2_u64.to_be_bytes());
    assert_eq!(client.parent_span_id, 1_u64.to_be_bytes());
    assert_eq!(client.kind(), WireKind::Client);
    assert_eq!(client.name, "reviews:9080/*");
    assert_eq!(client.end_time_unix_nano - client.start_time_unix_nano, 7_300_000);
    assert_eq!(text(&client.attributes, "http.url"), Some("http://reviews:9080/reviews/1?full=yes"));
    assert_eq!(text(&client.attributes, "istio.canonical_service"), Some("productpage"));
    assert_eq!(text(&client.attributes, "weft.route"), Some("reviews-v2"));
    assert_eq!(spans[1].kind(), WireKind::Server);
    assert_eq!(spans[1].parent_span_id, [0_u8; 0]);
    assert_eq!(telemetry.0.spans.as_ref().unwrap().counts(), (2, 0));
}

#[tokio::test]
async fn spans_are_dropped_and_counted_when_nobody_takes_them() {
    // Nobody accepts from it: connections stand, and nothing answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let settings =
        TraceSettings { queue: 3, timeout: Duration::from_millis(200), ..TraceSettings::new(&endpoint, "x") };
    let telemetry = telemetry(settings);
    // The runtime of this test is busy here, so that nothing leaves the queue meanwhile.
    let _worker = worker(&telemetry, |recorder| {
        (1..=5).for_each(|span| recorder.request(&traced(outbound(), span, None, true).request()));
    });
    telemetry.flush().await;
    assert_eq!(telemetry.0.spans.as_ref().unwrap().counts(), (0, 5));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_is_refused_by_name() {
    for endpoint in ["https://collector:4317", "collector:4317", "http://a b"] {
        let traces = Some(TraceSettings::new(endpoint, "x"));
        let refused = Telemetry::new(TelemetrySettings { traces, ..settings() }).unwrap_err();
        assert!(refused.to_string().contains(endpoint), "{refused}");
    }
}
