use std::net::SocketAddr;

use futures_util::StreamExt;
use http::StatusCode;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use weft_proto::telemetry::telemetry_service_server::{TelemetryService, TelemetryServiceServer};

use super::super::record::RequestRecord;
use super::super::test_support::{Sample, inbound, outbound, settings, worker};
use super::super::{Recorder, TelemetrySettings};
use super::*;
use crate::error::ResponseFlag;

type Answers = ReceiverStream<Result<wire::ReportResponse, Status>>;
/// What a sidecar sends, and where it is answered.
type Opened = (Streaming<wire::ReportRequest>, mpsc::Sender<Result<wire::ReportResponse, Status>>);

/// A control plane that hands every stream to the test.
struct Script(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl TelemetryService for Script {
    type ReportStream = Answers;

    async fn report(
        &self,
        request: Request<Streaming<wire::ReportRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, outgoing) = mpsc::channel(8);
        self.0.send((request.into_inner(), answers)).await.map_err(|_| Status::unavailable("over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

struct ControlPlane {
    streams: mpsc::Receiver<Opened>,
    channel: Channel,
}

impl ControlPlane {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (send, streams) = mpsc::channel(8);
        let server =
            tonic::transport::Server::builder().add_service(TelemetryServiceServer::new(Script(send)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { streams, channel }
    }

    async fn stream(&mut self) -> Stream {
        let (reports, answers) = within(self.streams.recv()).await.unwrap();
        Stream { reports, answers }
    }
}

struct Stream {
    reports: Streaming<wire::ReportRequest>,
    answers: mpsc::Sender<Result<wire::ReportResponse, Status>>,
}

impl Stream {
    async fn report(&mut self) -> wire::ReportRequest {
        within(self.reports.next()).await.unwrap().unwrap()
    }

    async fn acknowledge(&self, report: &wire::ReportRequest) {
        let answer = wire::ReportResponse { acknowledged_sequence: report.sequence, interval_ms: 100 };
        self.answers.send(Ok(answer)).await.unwrap();
    }

    /// The next report that has edges, all before it acknowledged.
    async fn report_with_edges(&mut self) -> wire::ReportRequest {
        loop {
            let report = self.report().await;
            if !report.edges.is_empty() {
                return report;
            }
            self.acknowledge(&report).await;
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it must happen soon")
}

fn record_all(samples: Vec<Sample>) -> impl FnOnce(&Recorder) + Send {
    move |recorder| samples.iter().for_each(|sample| recorder.request(&sample.request()))
}

fn start(telemetry: &Telemetry, channel: Channel) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let settings =
        ReportSettings { interval: Duration::from_millis(100), ..ReportSettings::new("sidecar~::1~a.b~c") };
    let reports = telemetry.reports(channel, settings);
    let running = tokio::spawn(reports.run(async move { drop(stopped.await) }));
    (stop, running)
}

#[tokio::test]
async fn a_report_tells_what_an_edge_counted() {
    let mut control_plane = ControlPlane::start().await;
    let telemetry = Telemetry::new(settings()).unwrap();
    let mut failing = Sample { status: StatusCode::from_u16(503).ok(), ..outbound() };
    failing.flags.insert(ResponseFlag::UpstreamConnectionFailure);
    failing.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
    let _worker = worker(&telemetry, record_all(vec![outbound(), outbound(), failing, inbound()]));
    let (_stop, _running) = start(&telemetry, control_plane.channel.clone());
    let mut stream = control_plane.stream().await;
    let report = stream.report_with_edges().await;
    assert_eq!(report.node, "sidecar~::1~a.b~c");
    assert!(report.resident_bytes > 0);
    assert_eq!(report.edges.len(), 2);
    let of = |reporter: &str| {
        report.edges.iter().find(|counts| counts.edge.as_ref().unwrap().reporter == reporter).unwrap()
    };
    let counts = of("source");
    let edge = counts.edge.as_ref().unwrap();
    assert_eq!((&*edge.source_workload, &*edge.destination_workload), ("productpage-v1", "reviews-v2"));
    assert_eq!(edge.destination_service, "reviews.default.svc.cluster.local");
    assert_eq!(edge.destination_principal, "spiffe://cluster.local/ns/default/sa/reviews");
    assert_eq!((&*edge.protocol, &*edge.route, edge.mutual_tls), ("http", "reviews-v2", true));
    assert_eq!((counts.requests, counts.failures, counts.retries), (3, 1, 3));
    assert_eq!(counts.responses_by_code, HashMap::from([(200, 2), (503, 1)]));
    assert_eq!(counts.response_flags, HashMap::from([("UF".to_owned(), 1), ("URX".to_owned(), 1)]));
    let latency = counts.latency.as_ref().unwrap();
    let bucket = weft_model::histogram::index(7_300) as u32;
    assert_eq!((&latency.bucket[..], &latency.count[..], latency.sum_us), (&[bucket][..], &[3][..], 21_900));
    assert_eq!((counts.bytes_sent, counts.bytes_received), (3 * 345, 3 * 12));
    assert_eq!(of("destination").edge.as_ref().unwrap().source_workload, "productpage-v1");
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_and_the_rest_merged() {
    let mut control_plane = ControlPlane::start().await;
    let telemetry = Telemetry::new(settings()).unwrap();
    let _first = worker(&telemetry, record_all(vec![outbound()]));
    let (_stop, _running) = start(&telemetry, control_plane.channel.clone());
    let mut stream = control_plane.stream().await;
    let lost = stream.report_with_edges().await;
    drop(stream);
    let _second = worker(&telemetry, record_all(vec![outbound(), outbound()]));
    let mut stream = control_plane.stream().await;
    let again = stream.report().await;
    assert_eq!(again, lost, "the same under the same number");
    let _third = worker(&telemetry, record_all(vec![outbound()]));
    stream.acknowledge(&again).await;
    let merged = stream.report_with_edges().await;
    assert!(merged.sequence > lost.sequence);
    assert_eq!(merged.edges.len(), 1);
    assert_eq!(merged.edges[0].requests, 3);
    assert_eq!(merged.edges[0].latency.as_ref().unwrap().count, [3]);
    stream.acknowledge(&merged).await;
    assert_eq!(stream.report().await.edges, [], "counted once");
}

#[tokio::test]
async fn the_last_report_is_sent_at_the_end() {
    let mut control_plane = ControlPlane::start().await;
    let telemetry = Telemetry::new(settings()).unwrap();
    let (stop, running) = start(&telemetry, control_plane.channel.clone());
    let mut stream = control_plane.stream().await;
    let empty = stream.report().await;
    assert!(empty.edges.is_empty());
    // A worker that has ended before.
    drop(worker(&telemetry, record_all(vec![outbound()])));
    drop(stop);
    let mut total = 0;
    let mut stream = control_plane.stream().await;
    while !running.is_finished() {
        let Some(Ok(report)) = within(stream.reports.next()).await else { break };
        total += report.edges.iter().map(|counts| counts.requests).sum::<u64>();
        stream.acknowledge(&report).await;
    }
    within(running).await.unwrap();
    assert_eq!(total, 1);
}

#[tokio::test]
async fn edges_beyond_the_bound_are_reported_as_one() {
    let telemetry = Telemetry::new(TelemetrySettings { max_edges: 2, ..settings() }).unwrap();
    let routes = ["a", "b", "c", "d"].map(|route| Sample { route: route.to_owned(), ..outbound() });
    let _one = worker(&telemetry, record_all(routes.into()));
    let edges = telemetry.take_edges().await;
    let mut pending = HashMap::new();
    merge(&mut pending, edges, 2);
    let counts: Vec<wire::EdgeCounts> =
        pending.into_iter().map(|(labels, tally)| wire_counts(labels, tally)).collect();
    assert_eq!(counts.len(), 3);
    let other = counts.iter().find(|counts| counts.edge.as_ref().unwrap().reporter == "other").unwrap();
    assert_eq!(other.requests, 2);
}

#[test]
fn failures_are_those_of_the_server() {
    use super::super::labels::Call;
    use super::super::tally::failed;
    let grpc = |status: &str| Sample { grpc: true, grpc_status: status.parse().ok(), ..outbound() };
    let with = |code: u16| Sample { status: StatusCode::from_u16(code).ok(), ..outbound() };
    let failed = |sample: Sample| {
        let record: RequestRecord<'_> = sample.request();
        failed(&Call::of_request(&record))
    };
    assert!(!failed(with(200)) && !failed(with(404)) && failed(with(500)) && failed(with(599)));
    assert!(failed(Sample { status: None, ..outbound() }), "not answered");
    assert!(!failed(grpc("0")) && !failed(grpc("5")) && !failed(grpc("16")));
    assert!(failed(grpc("14")) && failed(grpc("2")) && failed(grpc("99")) && failed(grpc("nonsense")));
    assert!(failed(Sample { grpc_status: None, ..grpc("0") }), "cut off");
}
