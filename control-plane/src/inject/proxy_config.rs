//! The annotation `proxy.istio.io/config`: the part of Istio's `ProxyConfig` that has a meaning here. Every other
//! field is refused by name.

use crate::source::checks::go_duration;
use crate::source::diagnostic::{Finding, Report, Severity};
use crate::source::document::yaml;
use crate::source::fields::{Field, Problem};

#[cfg(test)]
#[path = "proxy_config_tests.rs"]
mod tests;

/// What it says; absent is as the mesh is set.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ProxyConfig {
    /// Worker threads; 0: one for each core.
    pub concurrency: Option<u32>,
    /// The application starts when the sidecar can serve it.
    pub hold: Option<bool>,
    /// How long what is under way may take.
    pub drain: Option<String>,
    /// Environment of the sidecar.
    pub metadata: Vec<(String, String)>,
    /// Share of traced requests, in per cent.
    pub sampling: Option<f64>,
}

/// Fields of Istio's that are refused as unsupported, and not as unknown.
const UNSUPPORTED: [&str; 24] = [
    "configPath",
    "binaryPath",
    "serviceCluster",
    "drainDuration",
    "discoveryAddress",
    "zipkinAddress",
    "statsdUdpAddress",
    "proxyAdminPort",
    "controlPlaneAuthPolicy",
    "customConfigFile",
    "statNameLength",
    "proxyBootstrapTemplatePath",
    "interceptionMode",
    "sds",
    "envoyAccessLogService",
    "envoyMetricsService",
    "statusPort",
    "extraStatTags",
    "gatewayTopology",
    "proxyStatsMatcher",
    "readinessProbe",
    "caCertificatesPem",
    "image",
    "privateKeyProvider",
];

/// Reads the annotation's YAML. The field of each finding is that within the annotation.
pub(super) fn parse(text: &str) -> Result<ProxyConfig, Vec<Finding>> {
    let report = Report::new("", text);
    let (root, errors) = yaml::parse(text);
    for error in errors {
        report.add(
            Finding::new(Severity::Error, error.code, error.message).hint(error.hint),
            "",
            &error.span,
        );
    }
    let config = root.as_ref().and_then(|root| read(&Field::root(root, &report)));
    let findings: Vec<Finding> = report.into_findings();
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        // The places are those of a text that the user never saw alone.
        _ => Err(findings
            .into_iter()
            .map(|finding| Finding { line: 0, column: 0, excerpt: String::new(), ..finding })
            .collect()),
    }
}

fn read(field: &Field<'_>) -> Option<ProxyConfig> {
    field.message(|f| {
        f.unsupported(&UNSUPPORTED);
        f.unsupported(&["meshId", "zipkinAddress", "availabilityZone", "fileFlushInterval", "proxyHeaders"]);
        Some(ProxyConfig {
            concurrency: f.optional("concurrency").and_then(|field| field.integer(0..=1024)),
            hold: f.optional("holdApplicationUntilProxyStarts").and_then(|field| field.flag()),
            drain: f.optional("terminationDrainDuration").and_then(|field| field.parse(duration)),
            metadata: f.optional("proxyMetadata").map(|field| environment(&field)).unwrap_or_default(),
            sampling: f.optional("tracing").and_then(|field| {
                field.message(|f| {
                    f.unsupported(&["zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent"]);
                    f.unsupported(&["customTags", "maxPathTagLength", "tlsSettings", "enableIstioTags"]);
                    f.optional("sampling").and_then(|field| field.number(0.0..=100.0))
                })
            }),
        })
    })
}

fn environment(field: &Field<'_>) -> Vec<(String, String)> {
    let read = |(name, value): (&str, Field<'_>)| {
        if !is_environment_name(name) {
            value.invalid(
                format!("`{name}` is no name of an environment variable"),
                "letters, digits and `_`",
            );
            return None;
        }
        Some((name.to_owned(), value.text()?.to_owned()))
    };
    field.entries().into_iter().filter_map(read).collect()
}

fn is_environment_name(name: &str) -> bool {
    name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// A duration as the sidecar's command line takes it.
///
/// # Errors
/// When it is none.
pub(super) fn duration(text: &str) -> Result<String, Problem> {
    go_duration(text).map(|duration| humantime::format_duration(duration).to_string().replace(' ', ""))
}
