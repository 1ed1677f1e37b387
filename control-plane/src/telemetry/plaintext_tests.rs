use std::sync::Mutex;

use weft_proto::telemetry::{Edge, ReportRequest};

use super::super::StatisticsSettings;
use super::*;

struct Mesh {
    statistics: Statistics,
    now: Arc<Mutex<Instant>>,
    sequence: u64,
}

impl Mesh {
    fn new() -> Self {
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = now.clone();
        let statistics = Statistics::new(StatisticsSettings::default(), move || *clock.lock().unwrap());
        Self { statistics, now, sequence: 0 }
    }

    fn advance(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    fn report(&mut self, peers: impl IntoIterator<Item = (String, u64)>) {
        self.sequence += 1;
        let edge = Edge {
            reporter: "destination".to_owned(),
            destination_service: "reviews.default.svc.cluster.local".to_owned(),
            protocol: "http".to_owned(),
            ..Edge::default()
        };
        let peer = |(address, count)| PlaintextPeer { address, port: 9080, count };
        let plaintext_peers = peers.into_iter().map(peer).collect();
        let counts = EdgeCounts { edge: Some(edge), requests: 1, plaintext_peers, ..EdgeCounts::default() };
        self.statistics.ingest(&ReportRequest {
            node: "sidecar~10.250.0.2~reviews-v1.default~d".to_owned(),
            sequence: self.sequence,
            interval_ms: 1000,
            edges: vec![counts],
            ..ReportRequest::default()
        });
    }

    fn seen(&self, seconds: u64) -> Vec<(String, u64, u64)> {
        let request = StatRequest { service: "reviews".to_owned(), ..StatRequest::default() };
        let rows = self.statistics.plaintext_rows(&request, Duration::from_secs(seconds));
        rows.into_iter().map(|row| (row.address, row.count, row.last_seconds_ago)).collect()
    }
}

#[test]
fn callers_are_counted_by_address_within_a_window_of_time() {
    let mut mesh = Mesh::new();
    mesh.report([("10.250.0.7".to_owned(), 40), ("10.250.0.8".to_owned(), 50)]);
    mesh.advance(120);
    mesh.report([("10.250.0.7".to_owned(), 2)]);
    mesh.advance(3);
    assert_eq!(mesh.seen(60), [("10.250.0.7".to_owned(), 2, 3)]);
    assert_eq!(mesh.seen(600), [("10.250.0.8".to_owned(), 50, 123), ("10.250.0.7".to_owned(), 42, 3)]);
    mesh.advance(3700);
    mesh.report([]);
    assert_eq!(mesh.seen(3600), []);
    assert!(mesh.statistics.store().plain.is_empty(), "what nobody can ask for is forgotten");
}

#[test]
fn endless_callers_take_bounded_memory_and_none_of_their_calls_is_lost() {
    let mut mesh = Mesh::new();
    for part in 0..10_u32 {
        mesh.report((0..1000).map(|n| (std::net::Ipv4Addr::from(part * 1000 + n).to_string(), 1)));
    }
    let seen = mesh.seen(60);
    assert_eq!(seen.len(), CALLERS + 1);
    assert_eq!(seen[0], (String::new(), 8000, 0));
}
