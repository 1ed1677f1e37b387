use weft_proto::telemetry::{Edge, Histogram};

use super::*;

fn counts(requests: u64, failures: u64, flags: &[(&str, u64)]) -> Counts {
    Counts::of(&EdgeCounts {
        requests,
        failures,
        response_flags: flags.iter().map(|(flag, n)| ((*flag).to_owned(), *n)).collect(),
        ..EdgeCounts::default()
    })
}

#[test]
fn requests_that_never_reached_the_server_are_added_and_unanswered_ones_only_marked() {
    let mut destination = counts(100, 5, &[]);
    destination.add_source_only(&counts(110, 13, &[("UF", 10), ("UT", 3), ("DC", 9)]));
    assert_eq!((destination.requests, destination.failures), (110, 18));
    assert_eq!(destination.flags.keys().map(|flag| &**flag).collect::<Vec<_>>(), ["UF", "UT"]);
}

#[test]
fn failures_never_exceed_requests_and_nothing_wraps() {
    let mut sum = counts(u64::MAX, u64::MAX, &[("UF", u64::MAX)]);
    sum.add(&sum.clone());
    sum.add_source_only(&sum.clone());
    assert!(sum.failures <= sum.requests);
    assert!(sum.success_rate() >= 0.0);
}

#[test]
fn buckets_beyond_the_last_and_endless_flags_do_no_harm() {
    let latency = Histogram { bucket: vec![u32::MAX, 3, 3], count: vec![1, 2, 3], sum_us: 0 };
    let flags = (0..1000).map(|n| (format!("F{n}"), 1)).collect();
    let edge = Some(Edge { mutual_tls: true, ..Edge::default() });
    let report = EdgeCounts {
        edge,
        latency: Some(latency),
        response_flags: flags,
        requests: 6,
        ..EdgeCounts::default()
    };
    let sum = Counts::of(&report);
    assert_eq!(sum.latency, [(3, 5), (histogram::BUCKETS as u16 - 1, 1)]);
    assert_eq!(sum.flags.len(), FLAGS);
    assert_eq!(sum.mutual_tls_share(), 1.0);
}
