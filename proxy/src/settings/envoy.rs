//! `weft-proxy --config-path FILE`: the command line of Envoy's users
//! (<https://www.envoyproxy.io/docs/envoy/latest/operations/cli>).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use weft_model::bootstrap::{self, Bootstrap};
use weft_model::endpoint::WorkloadInfo;
use weft_model::json::Misfit;
use weft_model::node::ProxyId;

use super::{Mistakes, Mode, Settings, Source};
use crate::telemetry::access_log::AccessLogSettings;
use crate::tls::TlsContexts;

#[cfg(test)]
#[path = "envoy_tests.rs"]
mod tests;

/// Envoy's arguments, as far as they mean something here.
#[derive(Args, Clone, Default, Debug)]
pub struct EnvoyArgs {
    /// An Envoy v3 bootstrap, in YAML or JSON.
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_path: Option<PathBuf>,
    /// A bootstrap as text; its fields win over those of the file.
    #[arg(long, value_name = "YAML")]
    pub config_yaml: Option<String>,
    /// What to do with it.
    #[arg(long, value_enum, default_value = "serve")]
    pub mode: RunMode,
    /// Worker threads; by default one a core.
    #[arg(long, value_name = "NUMBER")]
    pub concurrency: Option<u16>,
    /// As `WEFT_LOG`: trace, debug, info, warn, error, off, or a filter such as `info,weft_proxy::listener=debug`; also
    /// Envoy's words `warning` and `critical`.
    #[arg(short = 'l', long, value_name = "LEVEL", value_parser = level)]
    pub log_level: Option<String>,
    /// How long what is under way may take after SIGTERM, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub drain_time_s: u64,
    /// The admin endpoint's address is written here once it is bound.
    #[arg(long, value_name = "FILE")]
    pub admin_address_path: Option<PathBuf>,
    /// Stands for `node.id` where the bootstrap has none.
    #[arg(long, value_name = "ID")]
    pub service_node: Option<String>,
    /// Stands for `node.cluster` where the bootstrap has none.
    #[arg(long, value_name = "NAME")]
    pub service_cluster: Option<String>,
    /// Stands for `node.locality.zone` where the bootstrap has none.
    #[arg(long, value_name = "ZONE")]
    pub service_zone: Option<String>,
    /// Envoy's others.
    #[command(flatten)]
    pub without_effect: WithoutEffect,
}

/// Flags that people's scripts give Envoy, and that there is nothing to do for.
#[derive(Args, Clone, Default, Debug)]
pub struct WithoutEffect {
    #[arg(long, hide = true)]
    base_id: Option<u32>,
    #[arg(long, hide = true)]
    use_dynamic_base_id: bool,
    #[arg(long, hide = true)]
    restart_epoch: Option<u32>,
    #[arg(long, hide = true)]
    disable_hot_restart: bool,
    #[arg(long, hide = true)]
    parent_shutdown_time_s: Option<u64>,
    #[arg(long, hide = true)]
    drain_strategy: Option<String>,
    #[arg(long, hide = true)]
    file_flush_interval_msec: Option<u64>,
    #[arg(long, hide = true)]
    component_log_level: Option<String>,
    #[arg(long, hide = true)]
    log_format: Option<String>,
    #[arg(long, hide = true)]
    local_address_ip_version: Option<String>,
    #[arg(long, hide = true)]
    cpuset_threads: bool,
    #[arg(long, hide = true)]
    allow_unknown_static_fields: bool,
    #[arg(long, hide = true)]
    ignore_unknown_dynamic_fields: bool,
}

impl WithoutEffect {
    /// Those that are given.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            (self.base_id.is_some(), "--base-id"),
            (self.use_dynamic_base_id, "--use-dynamic-base-id"),
            (self.restart_epoch.is_some() && !self.disable_hot_restart, "--restart-epoch"),
            (self.parent_shutdown_time_s.is_some(), "--parent-shutdown-time-s"),
            (self.drain_strategy.is_some(), "--drain-strategy"),
            (self.file_flush_interval_msec.is_some(), "--file-flush-interval-msec"),
            (self.component_log_level.is_some(), "--component-log-level"),
            (self.log_format.is_some(), "--log-format"),
            (self.local_address_ip_version.is_some(), "--local-address-ip-version"),
            (self.cpuset_threads, "--cpuset-threads"),
            (self.allow_unknown_static_fields, "--allow-unknown-static-fields"),
            (self.ignore_unknown_dynamic_fields, "--ignore-unknown-dynamic-fields"),
        ];
        all.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect()
    }
}

/// Envoy's words for levels, as ours.
fn level(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(match text {
        "warning" => "warn".to_owned(),
        "critical" => "error".to_owned(),
        other => other.to_owned(),
    })
}

/// What to do with a bootstrap.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RunMode {
    /// Serve by it until SIGTERM.
    #[default]
    Serve,
    /// Check it, say what is wrong with it, and exit.
    Validate,
}

impl EnvoyArgs {
    /// Whether there is a bootstrap.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.config_path.is_some() || self.config_yaml.is_some()
    }

    /// Reads the bootstrap, and tells in the log what of it has no effect.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the place in the file.
    pub fn bootstrap(&self) -> Result<Bootstrap, Mistakes> {
        for flag in self.without_effect.given() {
            tracing::warn!("{flag} has no effect");
        }
        let (file, text) = self.text()?;
        let told = |misfit: &Misfit| {
            let space = if misfit.span.line > 0 { "" } else { " " };
            format!("{file}:{space}{misfit}")
        };
        let read = bootstrap::read(&text)
            .map_err(|errors| Mistakes(errors.0.iter().map(told).collect::<Vec<_>>()))?;
        for note in alike(&read.notes) {
            tracing::warn!("{}", told(&note));
        }
        let mut found = read.bootstrap;
        TlsContexts::default().prepare(&found).map_err(|mistakes| {
            Mistakes(mistakes.into_iter().map(|mistake| format!("{file}: {mistake}")).collect())
        })?;
        let stand_in = |field: &mut String, given: &Option<String>| {
            if field.is_empty() {
                field.clone_from(given.as_ref().unwrap_or(&String::new()));
            }
        };
        stand_in(&mut found.node.id, &self.service_node);
        stand_in(&mut found.node.cluster, &self.service_cluster);
        if let Some(zone) = self.service_zone.as_deref().filter(|_| found.node.locality.zone.is_empty()) {
            found.node.locality.zone = zone.into();
        }
        let log = found.access_log.as_ref().map(AccessLogSettings::of).transpose();
        log.map_err(|errors| Mistakes(vec![format!("{file}: {errors}")]))?;
        Ok(found)
    }

    fn text(&self) -> Result<(String, String), Mistakes> {
        match (&self.config_path, &self.config_yaml) {
            (Some(_), Some(_)) => Err(Mistakes(vec![
                "--config-yaml beside --config-path is not supported: give one".to_owned(),
            ])),
            (Some(path), None) => Ok((path.display().to_string(), read_file(path)?)),
            (None, yaml) => Ok(("--config-yaml".to_owned(), yaml.clone().unwrap_or_default())),
        }
    }

    /// What the process runs by.
    #[must_use]
    pub fn settings(&self, bootstrap: Bootstrap) -> Settings {
        let node = bootstrap.node.id.parse().unwrap_or_else(|_| unnamed(&bootstrap));
        let drain_time = Duration::from_secs(self.drain_time_s);
        Settings {
            workload: WorkloadInfo {
                name: node.workload.as_str().into(),
                namespace: node.namespace.as_str().into(),
                service: bootstrap.node.cluster.as_str().into(),
                version: "latest".into(),
                cluster: "".into(),
            },
            node,
            mode: Mode::Explicit { outbound: None, inbound: BTreeMap::new() },
            admin_address: bootstrap.admin,
            admin_address_path: self.admin_address_path.clone(),
            source: Source::Bootstrap(Arc::new(bootstrap)),
            admin_socket: None,
            mark: None,
            dns_address: None,
            upstream_resolvers: Vec::new(),
            egress: None,
            dns_own_domain: None,
            access_log: None,
            otlp_endpoint: None,
            trace_share: 0.0,
            max_series: None,
            app_ports: Vec::new(),
            labels: BTreeMap::new(),
            concurrency: self.concurrency.filter(|number| *number > 0).map_or_else(
                || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                usize::from,
            ),
            drain_time,
            minimum_drain_time: Duration::ZERO,
            own_addresses: Vec::new(),
            pod: None,
        }
    }
}

/// One note for each field, however often it is set.
fn alike(notes: &[Misfit]) -> Vec<Misfit> {
    let mut found: Vec<(String, Misfit, usize)> = Vec::new();
    for note in notes {
        let kind: String = note.field.chars().filter(|it| !it.is_ascii_digit()).collect();
        match found.iter_mut().find(|(other, ..)| *other == kind) {
            Some((.., count)) => *count += 1,
            None => found.push((kind, note.clone(), 1)),
        }
    }
    let told = found.into_iter().map(|(_, note, count)| match count {
        1 => note,
        _ => Misfit { message: format!("{} (and {} more like it)", note.message, count - 1), ..note },
    });
    told.collect()
}

/// Of a proxy whose id is not of Istio's form.
fn unnamed(bootstrap: &Bootstrap) -> ProxyId {
    let name = if bootstrap.node.id.is_empty() { "proxy" } else { &bootstrap.node.id };
    ProxyId {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        workload: name.to_owned(),
        namespace: "default".to_owned(),
        domain: "default.svc.cluster.local".to_owned(),
    }
}

fn read_file(path: &Path) -> Result<String, Mistakes> {
    std::fs::read_to_string(path).map_err(|error| Mistakes(vec![format!("{}: {error}", path.display())]))
}
