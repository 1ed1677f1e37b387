use tokio::time::Instant;
use weft_proto::telemetry::{Edge, EdgeCounts, Histogram, ReportRequest};

use super::*;
use crate::telemetry::StatisticsSettings;

const REVIEWS: &str = "reviews.bookshop.svc.cluster.local";

fn edge(reporter: &str, source: &str, route: &str) -> Edge {
    Edge {
        reporter: reporter.to_owned(),
        source_workload: source.to_owned(),
        source_namespace: if source.is_empty() { String::new() } else { "bookshop".to_owned() },
        destination_service: REVIEWS.to_owned(),
        destination_workload: "reviews-v1".to_owned(),
        destination_namespace: "bookshop".to_owned(),
        destination_version: "v1".to_owned(),
        protocol: "http".to_owned(),
        route: route.to_owned(),
        mutual_tls: !source.is_empty(),
        ..Edge::default()
    }
}

fn counts(edge: Edge, requests: u64, failures: u64, flags: &[(&str, u64)]) -> EdgeCounts {
    EdgeCounts {
        edge: Some(edge),
        requests,
        failures,
        response_flags: flags.iter().map(|(flag, n)| ((*flag).to_owned(), *n)).collect(),
        ..EdgeCounts::default()
    }
}

fn statistics(edges: Vec<EdgeCounts>) -> Statistics {
    let now = Instant::now();
    let statistics = Statistics::new(StatisticsSettings::default(), move || now);
    let node = "sidecar~10.0.0.1~a.default~d".to_owned();
    statistics.ingest(&ReportRequest {
        node,
        sequence: 1,
        interval_ms: 10_000,
        edges,
        ..ReportRequest::default()
    });
    statistics
}

fn rows(statistics: &Statistics, by: StatBy) -> Vec<StatRow> {
    statistics.query(&StatRequest { by: by as i32, ..StatRequest::default() }).rows
}

/// `page` called 100 times and 10 of its requests reached nobody; somebody outside the mesh called 50 times.
fn seen_from_both_sides() -> Statistics {
    let mut unreached = edge("source", "page", "canary");
    (unreached.destination_workload, unreached.destination_namespace) = (String::new(), String::new());
    unreached.mutual_tls = false;
    let mut retried = counts(edge("source", "page", "canary"), 90, 2, &[]);
    retried.retries = 7;
    statistics(vec![
        retried,
        counts(unreached, 10, 10, &[("UF", 10)]),
        counts(edge("destination", "page", "default"), 90, 4, &[]),
        counts(edge("destination", "", "default"), 50, 1, &[]),
    ])
}

#[test]
fn by_service_each_request_counts_once_and_what_only_the_client_saw_is_not_lost() {
    let rows = rows(&seen_from_both_sides(), StatBy::Service);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.requests, row.failures, row.retries), (150, 15, 7));
    assert_eq!((row.service.as_str(), row.namespace.as_str()), (REVIEWS, "bookshop"));
    assert_eq!(row.response_flags["UF"], 10);
    assert!((row.success_rate - 0.9).abs() < 1e-9);
    assert!((row.mtls_share - 90.0 / 140.0).abs() < 1e-9);
    assert!((row.rps - 15.0).abs() < 1e-9);
}

#[test]
fn by_edge_and_route_the_client_counts_and_callers_outside_the_mesh_are_shown() {
    let statistics = seen_from_both_sides();
    let edges = rows(&statistics, StatBy::Edge);
    let shown: Vec<_> = edges.iter().map(|row| (row.source.as_str(), row.requests, row.failures)).collect();
    assert_eq!(shown, [("page", 100, 12), ("unknown", 50, 1)]);
    let routes = rows(&statistics, StatBy::Route);
    let shown: Vec<_> = routes.iter().map(|row| (row.route.as_str(), row.requests)).collect();
    assert_eq!(shown, [("canary", 100)]);
}

#[test]
fn by_workload_the_server_counts() {
    let rows = rows(&seen_from_both_sides(), StatBy::Workload);
    let shown: Vec<_> =
        rows.iter().map(|row| (row.workload.as_str(), row.version.as_str(), row.requests)).collect();
    assert_eq!(shown, [("reviews-v1", "v1", 140)]);
}

#[test]
fn a_service_whose_server_has_no_sidecar_is_seen_from_the_client() {
    let statistics = statistics(vec![counts(edge("source", "page", "r"), 20, 3, &[("UT", 1)])]);
    let rows = rows(&statistics, StatBy::Service);
    assert_eq!((rows[0].requests, rows[0].failures), (20, 3));
}

#[test]
fn services_are_chosen_by_short_name_and_namespace() {
    let statistics = seen_from_both_sides();
    let found = |service: &str, namespace: &str| {
        let request = StatRequest {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            ..StatRequest::default()
        };
        statistics.query(&request).rows.len()
    };
    assert_eq!(found("reviews", ""), 1);
    assert_eq!(found("reviews.bookshop", "bookshop"), 1);
    assert_eq!(found(REVIEWS, ""), 1);
    assert_eq!(found("review", "") + found("reviews", "bank") + found("ratings", ""), 0);
}

#[test]
fn quantiles_are_those_of_all_reports_together() {
    let with_latency = |source: &str, micros: u64, n: u64| {
        let bucket = weft_model::histogram::index(micros) as u32;
        let latency = Some(Histogram { bucket: vec![bucket], count: vec![n], sum_us: micros * n });
        EdgeCounts { latency, ..counts(edge("destination", source, ""), n, 0, &[]) }
    };
    let statistics = statistics(vec![with_latency("a", 1_000, 90), with_latency("b", 100_000, 10)]);
    let row = &rows(&statistics, StatBy::Service)[0];
    let near = |value: f64, expected: f64| (value - expected).abs() <= expected * 0.07;
    assert!(near(row.p50_ms, 1.0) && near(row.p95_ms, 100.0) && near(row.p99_ms, 100.0), "{row:?}");
}

#[test]
fn what_several_control_planes_counted_adds_up_to_what_one_would_have() {
    let mut slow = counts(edge("destination", "page", ""), 60, 6, &[("UT", 1)]);
    slow.latency = Some(Histogram { bucket: vec![3, 200], count: vec![30, 30], sum_us: 0 });
    let mut fast = counts(edge("destination", "page", ""), 40, 0, &[]);
    fast.latency = Some(Histogram { bucket: vec![3], count: vec![40], sum_us: 0 });
    let client = counts(edge("source", "page", "canary"), 110, 10, &[("UF", 10)]);
    // The client's sidecar and the servers' are connected to different replicas.
    let (first, second) = (statistics(vec![slow.clone(), client.clone()]), statistics(vec![fast.clone()]));
    let whole = statistics(vec![slow, fast, client]);
    for by in [StatBy::Service, StatBy::Route, StatBy::Edge, StatBy::Workload] {
        let request = StatRequest { by: by as i32, ..StatRequest::default() };
        let answer = merged(by, &[first.answer_part(&request), second.answer_part(&request)]);
        assert_eq!(answer.rows, whole.query(&request).rows, "{by:?}");
    }
}
