use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tokio::task::LocalSet;

use super::super::test_support::{Sample, inbound, outbound, settings};
use super::super::{Telemetry, TelemetrySettings};
use super::*;

/// One sample of a page.
#[derive(Debug)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads a page as strictly as its specification is written; panics at the first mistake.
fn parse(page: &str, format: PageFormat) -> Vec<Line> {
    let mut types: HashMap<String, String> = HashMap::new();
    let mut lines = Vec::new();
    let mut seen = HashSet::new();
    let mut family = String::new();
    assert!(page.ends_with('\n'), "the last line must end too");
    let mut rest: Vec<&str> = page.split('\n').collect();
    assert_eq!(rest.pop(), Some(""));
    if format == PageFormat::OpenMetrics {
        assert_eq!(rest.pop(), Some("# EOF"));
    }
    for line in rest {
        if let Some(meta) = line.strip_prefix("# TYPE ") {
            let (name, kind) = meta.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            family = name.to_owned();
        } else if line.starts_with("# HELP ") {
        } else {
            let sample = parse_line(line);
            let kind = &types[&family];
            let suffixes: &[&str] = match (format, &**kind) {
                (_, "histogram") => &["_bucket", "_sum", "_count"],
                (PageFormat::OpenMetrics, "counter") => &["_total"],
                _ => &[""],
            };
            let fits = suffixes.iter().any(|suffix| sample.name == format!("{family}{suffix}"));
            assert!(fits, "{} below {family} ({kind})", sample.name);
            assert!(kind != "counter" || sample.name.ends_with("_total"), "{}", sample.name);
            assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
            lines.push(sample);
        }
    }
    lines
}

fn parse_line(line: &str) -> Line {
    let name_end = line.find(['{', ' ']).unwrap();
    let name = &line[..name_end];
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, char) => value.push(char),
                }
            };
            assert!(!labels.iter().any(|(known, _)| known == label), "{label} twice in {line}");
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.as_bytes()[0] {
                b',' => rest = &rest[1..],
                b'}' => break,
                _ => panic!("{line}"),
            }
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    Line { name: name.to_owned(), labels, value }
}

async fn page_of(samples: &[Sample], format: PageFormat) -> String {
    let telemetry = Telemetry::new(TelemetrySettings { max_series: 20, ..settings() }).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            samples.iter().for_each(|sample| recorder.request(&sample.request()));
            samples.iter().for_each(|sample| recorder.tcp(&sample.tcp()));
            telemetry.page(format).await
        })
        .await
}

#[tokio::test]
async fn both_formats_are_well_formed() {
    for format in [PageFormat::Prometheus, PageFormat::OpenMetrics] {
        let page = page_of(&[outbound(), inbound()], format).await;
        let lines = parse(&page, format);
        let requests: f64 =
            lines.iter().filter(|line| line.name == "istio_requests_total").map(|line| line.value).sum();
        assert_eq!(requests, 2.0);
    }
}

#[tokio::test]
async fn histograms_are_cumulative_with_envoys_bounds() {
    let page = page_of(&[outbound(), outbound()], PageFormat::Prometheus).await;
    let lines = parse(&page, PageFormat::Prometheus);
    let of = |name: &str| -> Vec<&Line> { lines.iter().filter(|line| line.name == name).collect() };
    let buckets: Vec<(String, f64)> = of("istio_request_duration_milliseconds_bucket")
        .iter()
        .map(|line| (line.labels.last().unwrap().1.clone(), line.value))
        .collect();
    let bounds: Vec<&str> = buckets.iter().map(|(bound, _)| &**bound).collect();
    assert_eq!(
        bounds,
        [
            "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000",
            "60000", "300000", "600000", "1800000", "3600000", "+Inf"
        ]
    );
    assert_eq!(buckets[2].1, 0.0);
    assert!(buckets[3..].iter().all(|(_, count)| *count == 2.0), "7.3 ms is over 5 and at most 10");
    let sum = of("istio_request_duration_milliseconds_sum")[0].value;
    assert!((sum - 14.6).abs() < 1e-9, "{sum}");
    assert_eq!(of("istio_request_duration_milliseconds_count")[0].value, 2.0);
    assert_eq!(of("istio_response_bytes_sum")[0].value, 690.0);
}

#[test]
fn a_scraper_gets_the_format_that_it_asks_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(PageFormat::accepted(Some(prometheus)), PageFormat::OpenMetrics);
    assert_eq!(PageFormat::accepted(Some("*/*")), PageFormat::Prometheus);
    assert_eq!(PageFormat::accepted(None), PageFormat::Prometheus);
}

proptest! {
    #[test]
    fn no_name_of_a_workload_breaks_a_page(names in prop::collection::vec(any::<String>(), 1..4)) {
        let samples: Vec<Sample> = names.iter().map(|name| {
            let mut sample = outbound();
            let upstream = sample.upstream.as_mut().unwrap();
            upstream.workload.name = (&**name).into();
            upstream.workload.version = (&**name).into();
            sample
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let page = runtime.block_on(page_of(&samples, PageFormat::Prometheus));
        let lines = parse(&page, PageFormat::Prometheus);
        for name in &names {
            let expected = if name.is_empty() { "unknown" } else { name };
            let is = |(label, value): &(String, String)| label == "destination_workload" && value == expected;
            prop_assert!(lines.iter().any(|line| line.labels.iter().any(is)), "{name:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_all_label_sets_is_below_64_mib_and_made_in_small_parts() {
    let cap = TelemetrySettings::new(WorkloadInfo::default()).max_series;
    let telemetry = Telemetry::new(settings()).unwrap();
    LocalSet::new()
        .run_until(async {
            let recorder = telemetry.recorder();
            // Names as Kubernetes makes them; one series more than there may be.
            for number in 0..=cap {
                let mut sample = inbound();
                let name = format!("recommendations-of-the-shop-v2-6f9d7c9f5b-{number:05}");
                let peer = super::super::test_support::workload(&name, "release-2026-11-23");
                sample.connection.peer_workload = Some(peer.into());
                recorder.request(&sample.request());
                recorder.tcp(&sample.tcp());
            }
            let parts: Vec<String> = telemetry.parts(PageFormat::Prometheus).await.collect();
            let longest = parts.iter().map(String::len).max().unwrap();
            assert!(longest < 2 * PART, "{longest}");
            let page = parts.concat();
            assert!(page.len() < 64 << 20, "{} bytes", page.len());
            let lines = parse(&page, PageFormat::Prometheus);
            let sum = |name: &str| -> f64 {
                lines.iter().filter(|line| line.name == name).map(|line| line.value).sum()
            };
            assert_eq!(sum("istio_requests_total"), cap as f64 + 1.0);
            assert_eq!(sum("istio_request_duration_milliseconds_count"), cap as f64 + 1.0);
            assert_eq!(sum("istio_tcp_connections_closed_total"), cap as f64 + 1.0);
        })
        .await;
}
