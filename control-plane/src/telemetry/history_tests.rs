use std::sync::Mutex;

use weft_proto::api::StatRequest;
use weft_proto::telemetry::{Edge, EdgeCounts, Histogram};

use super::super::StatisticsSettings;
use super::*;

/// One process's statistics, on a clock that tests move.
fn statistics() -> (Statistics, Arc<Mutex<Instant>>) {
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = now.clone();
    (Statistics::new(StatisticsSettings::default(), move || *clock.lock().unwrap()), now)
}

fn report(sequence: u64) -> ReportRequest {
    let edge = Edge {
        reporter: "source".to_owned(),
        destination_service: "reviews.default.svc.cluster.local".to_owned(),
        ..Edge::default()
    };
    let counts = EdgeCounts {
        edge: Some(edge),
        requests: 10,
        failures: 1,
        response_flags: [("UH".to_owned(), 1)].into(),
        latency: Some(Histogram { bucket: vec![3, 40], count: vec![4, 6], sum_us: 0 }),
        ..EdgeCounts::default()
    };
    let node = "sidecar~10.0.0.1~a.default~d".to_owned();
    ReportRequest {
        node,
        sequence,
        interval_ms: 1000,
        edges: vec![counts],
        cpu_us: sequence,
        resident_bytes: 7,
    }
}

fn requests(statistics: &Statistics, window_seconds: u64) -> u64 {
    let response = statistics.query(&StatRequest { window_seconds, ..StatRequest::default() });
    response.rows.iter().map(|row| row.requests).sum()
}

const WRITTEN: SystemTime = UNIX_EPOCH;

#[test]
fn what_was_counted_outlives_the_process_and_grows_old_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("statistics.jsonl");
    let (before, clock) = statistics();
    before.ingest(&report(1));
    *clock.lock().unwrap() += Duration::from_secs(300);
    before.ingest(&report(2));
    before.save(&file, WRITTEN).unwrap();
    let asked = StatRequest { window_seconds: 600, ..StatRequest::default() };
    let (told, away) = (before.query(&asked), Duration::from_secs(120));
    let (after, _) = statistics();
    after.restore(&file, WRITTEN + away);
    let row = after.query(&asked).rows.remove(0);
    assert_eq!((row.requests, row.failures, row.response_flags["UH"]), (20, 2, 2));
    assert_eq!((row.p50_ms, row.p99_ms), (told.rows[0].p50_ms, told.rows[0].p99_ms));
    assert!(row.rps < told.rows[0].rps, "the time away counts: {} {}", row.rps, told.rows[0].rps);
    assert_eq!((requests(&after, 60), requests(&after, 200), requests(&after, 3600)), (0, 10, 20));
    // What was taken before is not counted again; what is new is.
    after.ingest(&report(2));
    assert_eq!(requests(&after, 3600), 20);
    after.ingest(&report(3));
    assert_eq!((requests(&after, 3600), after.losses()), (30, (0, 0)));
    assert_eq!(after.resident_bytes("sidecar~10.0.0.1~a.default~d"), Some(7));
    let (late, _) = statistics();
    late.restore(&file, WRITTEN + Duration::from_secs(7200));
    assert_eq!(requests(&late, 3600), 0);
}

#[test]
fn a_damaged_file_costs_the_history_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("statistics.jsonl");
    let (before, _) = statistics();
    before.ingest(&report(1));
    before.save(&file, WRITTEN).unwrap();
    let whole = fs::read(&file).unwrap();
    let cut = &whole[..whole.len() - 5];
    for text in [b"".as_slice(), b"{}", b"\xff\xfe", b"[1]\n[2]", cut] {
        fs::write(&file, text).unwrap();
        let (after, _) = statistics();
        after.restore(&file, WRITTEN);
        assert_eq!(requests(&after, 3600), 0, "{}", String::from_utf8_lossy(text));
        after.ingest(&report(1));
        assert_eq!(requests(&after, 3600), 10);
    }
    // What no report could have brought does no harm.
    let odd = String::from_utf8(whole).unwrap().replace("[40,6]", "[65535,18446744073709551615]");
    fs::write(&file, odd.replace("\"requests\":10", "\"requests\":3")).unwrap();
    let (after, _) = statistics();
    after.restore(&file, WRITTEN);
    assert_eq!(requests(&after, 3600), 3);
    let (none, _) = statistics();
    none.restore(&directory.path().join("nothing"), WRITTEN);
    assert_eq!(requests(&none, 3600), 0);
}
