//! Answers `weft stat`. Which side's reports count is said in [`super`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use weft_proto::api::{PlaintextRow, SeriesResponse, StatBy, StatRequest, StatResponse, StatRow};

use super::counts::Counts;
use super::series::{Key, Reporter};
use super::statistics::Statistics;

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;

/// Looked back when the request says nothing.
const WINDOW: u64 = 60;

type Sums = Vec<(Key, Counts)>;

/// The labels of a row; those that are not asked for are empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct RowKey {
    service: Arc<str>,
    protocol: Arc<str>,
    route: Arc<str>,
    workload: Arc<str>,
    version: Arc<str>,
    source: Arc<str>,
    source_namespace: Arc<str>,
}

impl RowKey {
    fn of(by: StatBy, key: &Key) -> Self {
        let mut row =
            Self { service: key.service.clone(), protocol: key.protocol.clone(), ..Self::default() };
        match by {
            StatBy::Route => row.route = key.route.clone(),
            StatBy::Workload => (row.workload, row.version) = (key.workload.clone(), key.version.clone()),
            StatBy::Edge => {
                row.source = if key.has_source() { key.source.clone() } else { "unknown".into() };
                row.source_namespace = key.source_namespace.clone();
            }
            StatBy::Service | StatBy::Unspecified => {}
        }
        row
    }
}

/// Both views of one row.
#[derive(Default)]
struct Views {
    namespace: Arc<str>,
    source: Option<Counts>,
    destination: Option<Counts>,
}

impl Statistics {
    /// The rows of a window, ordered by service, protocol and the further labels.
    #[must_use]
    pub fn query(&self, request: &StatRequest) -> StatResponse {
        let window = if request.window_seconds == 0 { WINDOW } else { request.window_seconds };
        let (sums, covered, dropped_series) = self.sums(Duration::from_secs(window));
        let sums: Sums = sums.into_iter().filter(|(key, _)| is_wanted(key, request)).collect();
        let rows = rows(request.by(), sums).into_iter();
        let rows = rows.map(|(key, namespace, counts)| row(&key, &namespace, counts, covered)).collect();
        let plaintext = if request.plaintext {
            self.plaintext_rows(request, Duration::from_secs(window))
        } else {
            Vec::new()
        };
        StatResponse { window_seconds: window, rows, dropped_series, plaintext }
    }

    /// The same before it is put into rows, so that what several control planes counted can be added up ([`merged`]).
    #[must_use]
    pub fn answer_part(&self, request: &StatRequest) -> SeriesResponse {
        let window = if request.window_seconds == 0 { WINDOW } else { request.window_seconds };
        let (sums, covered, dropped_series) = self.sums(Duration::from_secs(window));
        let wanted = sums.into_iter().filter(|(key, _)| is_wanted(key, request));
        let plaintext = if request.plaintext {
            self.plaintext_rows(request, Duration::from_secs(window))
        } else {
            Vec::new()
        };
        SeriesResponse {
            window_seconds: window,
            covered_ms: covered.as_millis() as u64,
            dropped_series,
            series: wanted.map(|(key, counts)| counts.to_report(&key)).collect(),
            plaintext,
        }
    }

    /// The sums of the window, and the time that they cover.
    fn sums(&self, window: Duration) -> (Sums, Duration, u64) {
        let now = self.now();
        let mut store = self.store();
        self.sweep(&mut store, now);
        let (fine, coarse) = (self.settings.fine, self.settings.coarse);
        let is_fine = window <= fine.0 * u32::try_from(fine.1).unwrap_or(u32::MAX);
        let (width, most) = if is_fine { fine } else { coarse };
        let slots = (window.as_millis().div_ceil(width.as_millis().max(1)) as u64).clamp(1, most);
        let (slot, into) = self.slot(width, now);
        let sum = |(key, series): (&Key, &super::statistics::Series)| {
            let ring = if is_fine { &series.fine } else { &series.coarse };
            Some((key.clone(), ring.sum(slot, slots)?))
        };
        let sums = store.series.iter().filter_map(sum).collect();
        let reported = store.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let span = width * u32::try_from(slots - 1).unwrap_or(u32::MAX) + into;
        (sums, span.min(reported).max(Duration::from_secs(1)), store.dropped())
    }
}

fn is_wanted(key: &Key, request: &StatRequest) -> bool {
    (request.namespace.is_empty() || *namespace(key) == *request.namespace)
        && (request.service.is_empty() || names(&key.service, &request.service))
}

/// What one control plane would say that had counted what several did.
#[must_use]
pub fn merged(by: StatBy, answers: &[SeriesResponse]) -> StatResponse {
    let mut sums: BTreeMap<Key, Counts> = BTreeMap::new();
    for report in answers.iter().flat_map(|answer| &answer.series) {
        if let Some(key) = report.edge.as_ref().and_then(Key::of) {
            sums.entry(key).or_default().add(&Counts::of(report));
        }
    }
    let covered = answers.iter().map(|answer| answer.covered_ms).max().unwrap_or_default();
    let covered = Duration::from_millis(covered).max(Duration::from_secs(1));
    let rows = rows(by, sums.into_iter().collect()).into_iter();
    StatResponse {
        window_seconds: answers.iter().map(|answer| answer.window_seconds).max().unwrap_or_default(),
        rows: rows.map(|(key, namespace, counts)| row(&key, &namespace, counts, covered)).collect(),
        dropped_series: answers.iter().map(|answer| answer.dropped_series).sum(),
        plaintext: merged_plaintext(answers),
    }
}

/// The callers of all answers, each once, the most first.
fn merged_plaintext(answers: &[SeriesResponse]) -> Vec<PlaintextRow> {
    let mut merged: Vec<PlaintextRow> = Vec::new();
    for row in answers.iter().flat_map(|answer| &answer.plaintext) {
        let same = |other: &&mut PlaintextRow| {
            (&other.namespace, &other.workload, &other.service, other.port, &other.protocol, &other.address)
                == (&row.namespace, &row.workload, &row.service, row.port, &row.protocol, &row.address)
        };
        match merged.iter_mut().find(same) {
            Some(known) => {
                known.count = known.count.saturating_add(row.count);
                known.last_seconds_ago = known.last_seconds_ago.min(row.last_seconds_ago);
            }
            None => merged.push(row.clone()),
        }
    }
    merged.sort_by_key(|row| std::cmp::Reverse(row.count));
    merged
}

fn rows(by: StatBy, sums: Sums) -> Vec<(RowKey, Arc<str>, Counts)> {
    let by_source = matches!(by, StatBy::Route | StatBy::Edge);
    let with_source: HashSet<(Arc<str>, Arc<str>)> = sums
        .iter()
        .filter(|(key, _)| key.reporter == Reporter::Source)
        .map(|(key, _)| (key.service.clone(), key.protocol.clone()))
        .collect();
    let mut rows: BTreeMap<RowKey, Views> = BTreeMap::new();
    for (key, counts) in &sums {
        let destination = key.reporter == Reporter::Destination;
        let reported = with_source.contains(&(key.service.clone(), key.protocol.clone()));
        // The server's sidecar names its own routes; and a caller that it knows only by certificate reports itself.
        let hidden = match by {
            StatBy::Route => destination && reported,
            StatBy::Edge => destination && reported && !key.has_source() && key.mutual_tls,
            StatBy::Workload => !destination && key.workload.is_empty(),
            StatBy::Service | StatBy::Unspecified => false,
        };
        if hidden {
            continue;
        }
        let views = rows.entry(RowKey::of(by, key)).or_default();
        if views.namespace.is_empty() {
            views.namespace = namespace(key);
        }
        let view = if destination { &mut views.destination } else { &mut views.source };
        view.get_or_insert_default().add(counts);
    }
    let merge = |views: Views| match (views.source, views.destination) {
        (Some(source), Some(mut destination)) if !by_source => {
            destination.add_source_only(&source);
            destination
        }
        (Some(source), _) => source,
        (None, destination) => destination.unwrap_or_default(),
    };
    rows.into_iter().map(|(key, views)| (key, views.namespace.clone(), merge(views))).collect()
}

fn row(key: &RowKey, namespace: &str, counts: Counts, covered: Duration) -> StatRow {
    StatRow {
        namespace: namespace.to_owned(),
        service: key.service.to_string(),
        workload: key.workload.to_string(),
        version: key.version.to_string(),
        route: key.route.to_string(),
        source: key.source.to_string(),
        source_namespace: key.source_namespace.to_string(),
        protocol: key.protocol.to_string(),
        requests: counts.requests,
        failures: counts.failures,
        retries: counts.retries,
        success_rate: counts.success_rate(),
        rps: counts.requests as f64 / covered.as_secs_f64(),
        p50_ms: counts.quantile_ms(0.50),
        p95_ms: counts.quantile_ms(0.95),
        p99_ms: counts.quantile_ms(0.99),
        mtls_share: counts.mutual_tls_share(),
        tcp_connections: counts.tcp_opened,
        bytes_sent: counts.bytes_sent,
        bytes_received: counts.bytes_received,
        response_flags: counts.flags.iter().map(|(flag, count)| (flag.to_string(), *count)).collect(),
    }
}

/// As reported, else what the host says: `NAME.NAMESPACE.svc.…`. A request that reached nobody names no namespace.
fn namespace(key: &Key) -> Arc<str> {
    if !key.namespace.is_empty() {
        return key.namespace.clone();
    }
    let mut parts = key.service.split('.').skip(1);
    match (parts.next(), parts.next()) {
        (Some(namespace), Some("svc")) => namespace.into(),
        _ => key.namespace.clone(),
    }
}

/// Whether a host goes by a name: the whole, or its first labels.
pub(super) fn names(host: &str, name: &str) -> bool {
    host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
