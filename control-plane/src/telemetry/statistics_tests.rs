use std::sync::{Arc, Mutex};

use weft_proto::api::StatRequest;
use weft_proto::telemetry::{Edge, EdgeCounts};

use super::*;

struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

fn statistics(settings: StatisticsSettings) -> (Statistics, Clock) {
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = now.clone();
    (Statistics::new(settings, move || *clock.lock().unwrap()), Clock(now))
}

fn report(sequence: u64, cpu_us: u64, services: impl IntoIterator<Item = String>) -> ReportRequest {
    let edge =
        |destination_service| Edge { reporter: "source".to_owned(), destination_service, ..Edge::default() };
    let counts = |service| EdgeCounts { edge: Some(edge(service)), requests: 10, ..EdgeCounts::default() };
    let node = "sidecar~10.0.0.1~a.default~d".to_owned();
    let edges = services.into_iter().map(counts).collect();
    ReportRequest { node, sequence, interval_ms: 1000, edges, cpu_us, resident_bytes: 7 }
}

fn one(name: &str) -> [String; 1] {
    [name.to_owned()]
}

fn requests(statistics: &Statistics, window_seconds: u64) -> u64 {
    let response = statistics.query(&StatRequest { window_seconds, ..StatRequest::default() });
    response.rows.iter().map(|row| row.requests).sum()
}

#[test]
fn a_report_that_is_sent_again_is_acknowledged_and_not_counted_again() {
    let (statistics, _) = statistics(StatisticsSettings::default());
    for _ in 0..3 {
        assert_eq!(statistics.ingest(&report(1, 100, one("a"))).acknowledged_sequence, 1);
    }
    assert_eq!(requests(&statistics, 60), 10);
    statistics.ingest(&report(2, 110, one("a")));
    assert_eq!(requests(&statistics, 60), 20);
    assert_eq!(statistics.resident_bytes("sidecar~10.0.0.1~a.default~d"), Some(7));
}

#[test]
fn a_sidecar_that_started_anew_counts_from_its_first_report() {
    let (statistics, _) = statistics(StatisticsSettings::default());
    statistics.ingest(&report(1, 100, one("a")));
    statistics.ingest(&report(2, 200, one("a")));
    statistics.ingest(&report(1, 50, one("a")));
    assert_eq!(requests(&statistics, 60), 30);
    assert_eq!(statistics.losses(), (0, 0));
}

#[test]
fn gaps_are_counted_as_lost_reports() {
    let (statistics, _) = statistics(StatisticsSettings::default());
    statistics.ingest(&report(1, 1, one("a")));
    statistics.ingest(&report(5, 2, one("a")));
    assert_eq!(statistics.losses(), (0, 3));
}

#[test]
fn pain_16_series_beyond_the_cap_are_dropped_and_their_number_is_told() {
    let (statistics, _) = statistics(StatisticsSettings { series: 5, ..StatisticsSettings::default() });
    for sequence in 1..=3 {
        statistics.ingest(&report(sequence, sequence, (0..100).map(|n| format!("service-{n}"))));
    }
    let response = statistics.query(&StatRequest::default());
    assert_eq!((response.rows.len(), response.dropped_series), (5, 95));
    assert_eq!(requests(&statistics, 60), 150, "series within the cap go on");
}

#[test]
fn windows_slide_and_series_expire() {
    let (statistics, clock) = statistics(StatisticsSettings { series: 1, ..StatisticsSettings::default() });
    statistics.ingest(&report(1, 1, one("a")));
    clock.advance(59);
    assert_eq!(requests(&statistics, 60), 10);
    clock.advance(2);
    assert_eq!(requests(&statistics, 60), 0);
    assert_eq!(requests(&statistics, 600), 10);
    clock.advance(1800);
    assert_eq!(requests(&statistics, 600), 0);
    assert_eq!(requests(&statistics, 3600), 10);
    clock.advance(3600);
    assert_eq!(requests(&statistics, 3600), 0);
    statistics.ingest(&report(2, 2, one("b")));
    assert_eq!(requests(&statistics, 60), 10, "the expired series made room");
}

#[test]
fn the_rate_is_of_the_time_that_was_observed() {
    let (statistics, clock) = statistics(StatisticsSettings::default());
    statistics.ingest(&report(1, 1, one("a")));
    clock.advance(4);
    let rows = statistics.query(&StatRequest::default()).rows;
    assert_eq!(rows[0].rps, 2.0, "10 requests in the second before the report and the 4 after it");
}
