use http::StatusCode;
use tokio::task::LocalSet;

use super::test_support::{Sample, inbound, outbound, settings, worker};
use super::*;
use crate::error::ResponseFlag;

/// Value of the only line that begins so.
fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = page.lines().filter(|line| {
        line.starts_with(name)
            && matches!(line.as_bytes().get(name.len()), Some(b'{' | b' '))
            && labels.iter().all(|label| line.contains(label))
    });
    let line = lines.next()?;
    assert_eq!(lines.next(), None, "more than one {name} with {labels:?}");
    line.rsplit_once(' ')?.1.parse().ok()
}

fn statuses(codes: impl IntoIterator<Item = u16>) -> Vec<Sample> {
    let sample = |code| Sample { status: StatusCode::from_u16(code).ok(), ..outbound() };
    codes.into_iter().map(sample).collect()
}

#[tokio::test]
async fn a_page_sums_all_workers_also_those_that_have_ended() {
    let telemetry = Telemetry::new(settings()).unwrap();
    let twice = |recorder: &Recorder| (0..2).for_each(|_| recorder.request(&outbound().request()));
    let lasting = worker(&telemetry, twice);
    let ending = worker(&telemetry, twice);
    let count = async || value(&telemetry.page(PageFormat::Prometheus).await, "istio_requests_total", &[]);
    assert_eq!(count().await, Some(4.0));
    drop(ending);
    // While it ends it may be asked and not answer, or have left its counts: the sum is never another.
    while telemetry.0.workers().len() > 1 {
        assert_eq!(count().await, Some(4.0));
    }
    drop(lasting);
}

#[tokio::test]
async fn a_page_has_istios_labels_of_both_ends() {
    let telemetry = Telemetry::new(settings()).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            recorder.request(&outbound().request());
            recorder.request(&inbound().request());
            let mut plain = inbound();
            plain.connection.peer_identity = None;
            plain.connection.peer_workload = None;
            plain.grpc = true;
            plain.grpc_status = Some("14".parse().unwrap());
            plain.flags.insert(ResponseFlag::UpstreamConnectionFailure);
            recorder.request(&plain.request());
            insta::assert_snapshot!(
                telemetry
                    .page(PageFormat::Prometheus)
                    .await
                    .lines()
                    .filter(|line| line.starts_with("istio_requests_total"))
                    .map(|line| line.replace(',', "\n  "))
                    .collect::<Vec<_>>()
                    .join("\n"),
                @r##"
istio_requests_total{reporter="destination"
  source_workload="productpage-v1"
  source_workload_namespace="default"
  source_principal="spiffe://cluster.local/ns/default/sa/productpage"
  source_app="productpage"
  source_version="v1"
  source_cluster="Kubernetes"
  source_canonical_service="productpage"
  source_canonical_revision="v1"
  destination_workload="productpage-v1"
  destination_workload_namespace="default"
  destination_principal="spiffe://cluster.local/ns/default/sa/productpage"
  destination_app="productpage"
  destination_version="v1"
  destination_cluster="Kubernetes"
  destination_canonical_service="productpage"
  destination_canonical_revision="v1"
  destination_service="reviews.default.svc.cluster.local"
  destination_service_name="reviews"
  destination_service_namespace="default"
  request_protocol="http"
  response_code="200"
  grpc_response_status=""
  response_flags="-"
  connection_security_policy="mutual_tls"} 1
istio_requests_total{reporter="destination"
  source_workload="unknown"
  source_workload_namespace="unknown"
  source_principal="unknown"
  source_app="unknown"
  source_version="unknown"
  source_cluster="unknown"
  source_canonical_service="unknown"
  source_canonical_revision="latest"
  destination_workload="productpage-v1"
  destination_workload_namespace="default"
  destination_principal="unknown"
  destination_app="productpage"
  destination_version="v1"
  destination_cluster="Kubernetes"
  destination_canonical_service="productpage"
  destination_canonical_revision="v1"
  destination_service="reviews.default.svc.cluster.local"
  destination_service_name="reviews"
  destination_service_namespace="default"
  request_protocol="grpc"
  response_code="200"
  grpc_response_status="14"
  response_flags="UF"
  connection_security_policy="none"} 1
istio_requests_total{reporter="source"
  source_workload="productpage-v1"
  source_workload_namespace="default"
  source_principal="spiffe://cluster.local/ns/default/sa/productpage"
  source_app="productpage"
  source_version="v1"
  source_cluster="Kubernetes"
  source_canonical_service="productpage"
  source_canonical_revision="v1"
  destination_workload="reviews-v2"
  destination_workload_namespace="default"
  destination_principal="spiffe://cluster.local/ns/default/sa/reviews"
  destination_app="reviews"
  destination_version="v2"
  destination_cluster="Kubernetes"
  destination_canonical_service="reviews"
  destination_canonical_revision="v2"
  destination_service="reviews.default.svc.cluster.local"
  destination_service_name="reviews"
  destination_service_namespace="default"
  request_protocol="http"
  response_code="200"
  grpc_response_status=""
  response_flags="-"
  connection_security_policy="unknown"} 1
"##
            );
        })
        .await;
}

#[tokio::test]
async fn label_sets_beyond_the_cap_are_counted_as_other() {
    let telemetry = Telemetry::new(TelemetrySettings { max_series: 2, ..settings() }).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            statuses([200, 201, 202, 203, 202, 200])
                .iter()
                .for_each(|sample| recorder.request(&sample.request()));
            let page = telemetry.page(PageFormat::Prometheus).await;
            assert_eq!(value(&page, "istio_requests_total", &["response_code=\"200\""]), Some(2.0));
            assert_eq!(value(&page, "istio_requests_total", &["response_code=\"201\""]), Some(1.0));
            assert_eq!(value(&page, "istio_requests_total", &["reporter=\"other\""]), Some(3.0));
            assert_eq!(value(&page, "weft_telemetry_series_dropped_total", &[]), Some(3.0));
            assert_eq!(value(&page, "weft_telemetry_series", &[]), Some(2.0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_series_unused_for_long_is_forgotten_and_makes_room() {
    let expiry = Duration::from_secs(300);
    let settings = TelemetrySettings { max_series: 1, series_expiry: expiry, ..settings() };
    let telemetry = Telemetry::new(settings).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            let [first, second] = &statuses([200, 404])[..] else { unreachable!() };
            recorder.request(&first.request());
            tokio::time::sleep(expiry / 2).await;
            recorder.request(&first.request());
            tokio::time::sleep(expiry / 2 + Duration::from_secs(90)).await;
            let page = telemetry.page(PageFormat::Prometheus).await;
            assert_eq!(value(&page, "istio_requests_total", &[]), Some(2.0), "it was used in between");
            tokio::time::sleep(expiry).await;
            let page = telemetry.page(PageFormat::Prometheus).await;
            assert_eq!(value(&page, "istio_requests_total", &[]), None);
            recorder.request(&second.request());
            let page = telemetry.page(PageFormat::Prometheus).await;
            assert_eq!(value(&page, "istio_requests_total", &["response_code=\"404\""]), Some(1.0));
            assert_eq!(value(&page, "weft_telemetry_series_dropped_total", &[]), Some(0.0));
        })
        .await;
}

#[tokio::test]
async fn connections_are_counted_when_they_open_and_close() {
    let telemetry = Telemetry::new(settings()).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            let opened = Sample { closed: false, ..outbound() };
            recorder.tcp(&opened.tcp());
            recorder.tcp(&opened.tcp());
            recorder.tcp(&outbound().tcp());
            // Refused before it was recorded as open.
            recorder.tcp(&Sample { upstream: None, ..outbound() }.tcp());
            let page = telemetry.page(PageFormat::Prometheus).await;
            let reached = ["destination_service_name=\"reviews\""];
            assert_eq!(value(&page, "istio_tcp_connections_opened_total", &reached), Some(2.0));
            assert_eq!(value(&page, "istio_tcp_connections_closed_total", &reached), Some(1.0));
            assert_eq!(value(&page, "istio_tcp_received_bytes_total", &reached), Some(100.0));
            assert_eq!(value(&page, "istio_tcp_sent_bytes_total", &reached), Some(200.0));
            let refused = ["destination_service_name=\"unknown\""];
            assert_eq!(value(&page, "istio_tcp_connections_opened_total", &refused), Some(1.0));
            assert_eq!(value(&page, "istio_tcp_connections_closed_total", &refused), Some(1.0));
        })
        .await;
}

#[tokio::test]
async fn a_request_that_reached_no_endpoint_names_the_service_all_the_same() {
    let telemetry = Telemetry::new(settings()).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            recorder.request(&Sample { upstream: None, ..outbound() }.request());
            let page = telemetry.page(PageFormat::Prometheus).await;
            let labels = [
                "destination_service=\"reviews.default.svc.cluster.local\"",
                "destination_service_name=\"reviews\"",
                "destination_service_namespace=\"default\"",
            ];
            assert_eq!(value(&page, "istio_requests_total", &labels), Some(1.0));
        })
        .await;
}

#[tokio::test]
async fn readings_are_read_with_every_page() {
    let readings = vec![
        Reading::configuration_age(|| Some(1.5)),
        Reading::certificate_expiry(|| None),
        Reading::counter("weft_test_total", "A test.", || Some(3.0)),
    ];
    let telemetry = Telemetry::new(TelemetrySettings { readings, ..settings() }).unwrap();
    let page = telemetry.page(PageFormat::Prometheus).await;
    assert_eq!(value(&page, "weft_configuration_age_seconds", &[]), Some(1.5));
    assert_eq!(value(&page, "weft_certificate_expiry_timestamp_seconds", &[]), None);
    assert_eq!(value(&page, "weft_test_total", &[]), Some(3.0));
}

/// One-off measurement, no test: `cargo test --workspace --lib -- --ignored --nocapture nanoseconds`.
#[tokio::test]
#[ignore = "a measurement"]
async fn nanoseconds_of_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let access_log = Some(AccessLogSettings {
        destination: Destination::File(directory.path().join("log")),
        format: access_log::Format::istio(),
    });
    let telemetry = Telemetry::new(TelemetrySettings { access_log, ..settings() }).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            let samples = [outbound(), inbound()];
            let rounds = 200_000_u32;
            let begun = Instant::now();
            for round in 0..rounds {
                recorder.request(&samples[round as usize % 2].request());
            }
            println!("{} ns a request", (begun.elapsed() / rounds).as_nanos());
        })
        .await;
}
