//! The page of metrics: Prometheus' text format and OpenMetrics
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, <https://prometheus.io/docs/specs/om/open_metrics_spec/>).

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use weft_model::endpoint::WorkloadInfo;

use super::labels::{Party, Protocol, SeriesLabels, reporter};
use super::process::ProcessUse;
use super::tally::{BOUNDS, Histogram, HttpTally, Tally, TcpTally};
use super::{Shared, Sums};

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;

/// Which text format.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PageFormat {
    /// Prometheus' own, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl PageFormat {
    /// What a scraper's `Accept` header asks for.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// To be sent with the page.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A metric that somebody else knows the value of, read for every page.
pub struct Reading {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: Box<dyn Fn() -> Option<f64> + Send + Sync>,
}

impl Reading {
    /// A value that goes up and down; none leaves it out.
    pub fn gauge(
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        Self { name, help, kind: Kind::Gauge, read: Box::new(read) }
    }

    /// A count; `name` ends with `_total`.
    pub fn counter(
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        Self { name, help, kind: Kind::Counter, read: Box::new(read) }
    }

    /// Seconds since the control plane last confirmed the configuration.
    pub fn configuration_age(read: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        let help = "Seconds since the configuration in use was last confirmed by the control plane.";
        Self::gauge("weft_configuration_age_seconds", help, read)
    }

    /// Unix time, in seconds, at which the certificate ends.
    pub fn certificate_expiry(read: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        let help = "Unix time at which the workload's certificate ends.";
        Self::gauge("weft_certificate_expiry_timestamp_seconds", help, read)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels and counts of one kind, in the order of the page.
type Rows<T> = Vec<(String, T)>;

/// Bytes of a part of the page, about.
const PART: usize = 64 * 1024;

/// A page, made part by part: with many label sets it is tens of megabytes, which nobody needs to hold at once.
#[derive(Debug)]
pub struct Parts {
    format: PageFormat,
    http: Rows<Box<HttpTally>>,
    tcp: Rows<TcpTally>,
    /// What is not by label set; taken when it is its turn.
    own: Option<String>,
    /// Which of [`FAMILIES`] is next, and which of its rows.
    family: usize,
    row: usize,
}

/// A metric of requests or connections, and where it is read from.
struct Family {
    name: &'static str,
    help: &'static str,
    of: Of,
}

enum Of {
    Requests,
    Sizes(fn(&HttpTally) -> &Histogram),
    Connections(fn(&TcpTally) -> u64),
}

/// Istio's, in the order of the page.
const FAMILIES: [Family; 8] = [
    Family { name: "istio_requests_total", help: "Requests.", of: Of::Requests },
    Family {
        name: "istio_request_duration_milliseconds",
        help: "Time from the head of a request to the last byte of its response, in milliseconds.",
        of: Of::Sizes(|tally| &tally.duration_ms),
    },
    Family {
        name: "istio_request_bytes",
        help: "Bytes of bodies of requests.",
        of: Of::Sizes(|tally| &tally.request_bytes),
    },
    Family {
        name: "istio_response_bytes",
        help: "Bytes of bodies of responses.",
        of: Of::Sizes(|tally| &tally.response_bytes),
    },
    Family {
        name: "istio_tcp_sent_bytes_total",
        help: "Bytes sent to clients.",
        of: Of::Connections(|tally| tally.sent_bytes),
    },
    Family {
        name: "istio_tcp_received_bytes_total",
        help: "Bytes received from clients.",
        of: Of::Connections(|tally| tally.received_bytes),
    },
    Family {
        name: "istio_tcp_connections_opened_total",
        help: "Connections opened.",
        of: Of::Connections(|tally| tally.opened),
    },
    Family {
        name: "istio_tcp_connections_closed_total",
        help: "Connections closed.",
        of: Of::Connections(|tally| tally.closed),
    },
];

pub(super) fn parts(shared: &Shared, format: PageFormat, series: Sums, folded: u64, silent: usize) -> Parts {
    let (mut http, mut tcp): (Rows<Box<HttpTally>>, Rows<TcpTally>) = Default::default();
    for ((labels, _), tally) in series {
        match tally {
            Tally::Http(tally) if tally.requests > 0 => {
                http.push((label_text(labels.as_deref(), false), tally));
            }
            Tally::Tcp(tally) if tally.opened + tally.closed > 0 => {
                tcp.push((label_text(labels.as_deref(), true), tally));
            }
            _ => {}
        }
    }
    http.sort_by(|(one, _), (other, _)| one.cmp(other));
    tcp.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut own = Page { format, text: String::with_capacity(4_096) };
    write_own(&mut own, shared, folded, silent);
    if format == PageFormat::OpenMetrics {
        own.text.push_str("# EOF\n");
    }
    Parts { format, http, tcp, own: Some(own.text), family: 0, row: 0 }
}

impl Iterator for Parts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let Some(_) = FAMILIES.get(self.family) else { return self.own.take() };
        // One row of a histogram may go beyond.
        let mut page = Page { format: self.format, text: String::with_capacity(PART + PART / 2) };
        while page.text.len() < PART
            && let Some(family) = FAMILIES.get(self.family)
        {
            self.write(&mut page, family);
        }
        Some(page.text)
    }
}

impl Parts {
    /// Writes a family on, from the row at which it stands, until it or the part is full.
    fn write(&mut self, page: &mut Page, family: &Family) {
        let Family { name, help, of } = family;
        if self.row == 0 {
            page.head(name, help, if matches!(of, Of::Sizes(_)) { Kind::Histogram } else { Kind::Counter });
        }
        let rows = match of {
            Of::Connections(_) => self.tcp.len(),
            Of::Requests | Of::Sizes(_) => self.http.len(),
        };
        // At least one, or the head would be written again.
        while self.row < rows {
            match of {
                Of::Requests => {
                    let (labels, tally) = &self.http[self.row];
                    page.sample(name, labels, tally.requests as f64);
                }
                Of::Sizes(of) => {
                    let (labels, tally) = &self.http[self.row];
                    page.histogram(name, labels, of(tally));
                }
                Of::Connections(of) => {
                    let (labels, tally) = &self.tcp[self.row];
                    page.sample(name, labels, of(tally) as f64);
                }
            }
            self.row += 1;
            if page.text.len() >= PART {
                break;
            }
        }
        if self.row >= rows {
            (self.family, self.row) = (self.family + 1, 0);
        }
    }
}

fn write_own(page: &mut Page, shared: &Shared, folded: u64, silent: usize) {
    use Kind::{Counter, Gauge};
    let process = ProcessUse::now();
    let uptime = shared.started.elapsed();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = unix.saturating_sub(uptime).as_secs_f64();
    let mut one = |name, help, kind, value: f64| page.family(name, help, kind, std::iter::once(("", value)));
    one("weft_telemetry_series", "Label sets in use.", Gauge, shared.admission.len() as f64);
    let help = "Exchanges counted with the labels `other` because there were too many label sets.";
    one("weft_telemetry_series_dropped_total", help, Counter, folded as f64);
    let help = "Workers that did not answer; while there are any, no sums are told.";
    one("weft_telemetry_workers_silent", help, Gauge, silent as f64);
    if let Some((_, writer)) = &shared.log {
        let (written, dropped) = writer.counts();
        one("weft_access_log_lines_total", "Lines written to the access log.", Counter, written as f64);
        let help = "Lines lost because the access log could not be written in time.";
        one("weft_access_log_lines_dropped_total", help, Counter, dropped as f64);
    }
    if let Some(spans) = &shared.spans {
        let (exported, dropped) = spans.counts();
        one("weft_spans_exported_total", "Spans that the collector took.", Counter, exported as f64);
        one(
            "weft_spans_dropped_total",
            "Spans lost: a full queue, or a failing collector.",
            Counter,
            dropped as f64,
        );
    }
    let (acknowledged, broken) = shared.reports.read();
    one(
        "weft_reports_acknowledged_total",
        "Reports that the control plane took.",
        Counter,
        acknowledged as f64,
    );
    one("weft_report_streams_broken_total", "Streams of reports that ended early.", Counter, broken as f64);
    one("process_resident_memory_bytes", "Resident memory.", Gauge, process.resident_bytes as f64);
    one("process_cpu_seconds_total", "CPU time.", Counter, process.cpu.as_secs_f64());
    one("process_open_fds", "Open file descriptors.", Gauge, process.open_files as f64);
    one("process_start_time_seconds", "Unix time of the start.", Gauge, started);
    one("weft_uptime_seconds", "Time since the start.", Gauge, uptime.as_secs_f64());
    let build = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    page.family("weft_build_info", "What this proxy is.", Gauge, std::iter::once((&*build, 1.0)));
    for Reading { name, help, kind, read } in &shared.readings {
        if let Some(value) = read() {
            page.family(name, help, *kind, std::iter::once(("", value)));
        }
    }
}

struct Page {
    format: PageFormat,
    text: String,
}

// Writing into a string never fails: results are not looked at.
impl Page {
    fn head(&mut self, name: &str, help: &str, kind: Kind) {
        // OpenMetrics names the family of a counter without its suffix.
        let name = match (self.format, kind) {
            (PageFormat::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn family<'a>(&mut self, name: &str, help: &str, kind: Kind, rows: impl Iterator<Item = (&'a str, f64)>) {
        self.head(name, help, kind);
        rows.for_each(|(labels, value)| self.sample(name, labels, value));
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            labels => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let mut total = 0;
        for (place, count) in histogram.buckets.iter().enumerate() {
            total += count;
            let _ = match BOUNDS.get(place) {
                Some(bound) => writeln!(self.text, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}"),
                None => writeln!(self.text, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}"),
            };
        }
        let _ = writeln!(self.text, "{name}_sum{{{labels}}} {}", histogram.sum);
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {total}");
    }
}

/// Labels in Istio's words and order.
fn label_text(labels: Option<&SeriesLabels>, tcp: bool) -> String {
    let mut text = LabelText(String::with_capacity(1_024));
    let Some(SeriesLabels { ends, status, grpc_status, flags }) = labels else {
        NAMES.iter().for_each(|name| text.push(name, "other"));
        text.push("request_protocol", if tcp { "tcp" } else { "other" });
        if !tcp {
            text.push("response_code", "other");
            text.push("grpc_response_status", "other");
        }
        text.push("response_flags", "other");
        text.push("connection_security_policy", "other");
        return text.0;
    };
    text.push("reporter", reporter(ends.direction));
    text.party("source", &ends.source);
    text.party("destination", &ends.destination);
    text.push("destination_service", known(&ends.service.host));
    text.push("destination_service_name", known(&ends.service.name));
    text.push("destination_service_namespace", known(&ends.service.namespace));
    text.push("request_protocol", ends.protocol.as_str());
    if ends.protocol != Protocol::Tcp {
        text.display("response_code", status);
        match grpc_status {
            Some(status) => text.display("grpc_response_status", status),
            None => text.push("grpc_response_status", ""),
        }
    }
    text.display("response_flags", flags);
    text.push(
        "connection_security_policy",
        match (reporter(ends.direction), ends.mutual_tls) {
            ("source", _) => "unknown",
            (_, true) => "mutual_tls",
            (_, false) => "none",
        },
    );
    text.0
}

/// What is not known is `unknown`, as in Istio.
fn known(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// Labels that depend on who called whom.
const NAMES: [&str; 20] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
];

struct LabelText(String);

impl LabelText {
    fn push(&mut self, name: &str, value: &str) {
        self.begin(name);
        for char in value.chars() {
            match char {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                char => self.0.push(char),
            }
        }
        self.0.push('"');
    }

    /// For values without special characters.
    fn display(&mut self, name: &str, value: &dyn fmt::Display) {
        self.begin(name);
        let _ = write!(self.0, "{value}\"");
    }

    fn begin(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
    }

    fn party(&mut self, side: &str, party: &Party) {
        let WorkloadInfo { name, namespace, service, version, cluster } = &party.workload;
        let mut push = |label: &str, value: &str| self.push(&format!("{side}_{label}"), known(value));
        push("workload", name);
        push("workload_namespace", namespace);
        match &party.principal {
            Some(principal) => push("principal", &principal.to_string()),
            None => push("principal", "unknown"),
        }
        push("app", service);
        push("version", version);
        push("cluster", cluster);
        push("canonical_service", service);
        push("canonical_revision", if version.is_empty() { "latest" } else { version });
    }
}
