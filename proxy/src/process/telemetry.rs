//! Telemetry of the process: how it is set up, what it reads besides requests, and its reports.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::Parts;
use crate::discovery::Discovery;
use crate::identity::{ControlPlane, Identity, channel};
use crate::listener::statistics::Event;
use crate::settings::{Settings, Source};
use crate::telemetry::access_log::{AccessLogSettings, Destination, Format};
use crate::telemetry::page::{PageFormat, Reading};
use crate::telemetry::report::ReportSettings;
use crate::telemetry::trace::TraceSettings;
use crate::telemetry::{Telemetry, TelemetryError, TelemetrySettings};
use crate::worker::Shared;

/// Telemetry as the settings ask for it.
pub(super) fn set_up(
    settings: &Settings,
    discovery: &Discovery,
    identity: Option<&Identity>,
) -> Result<Telemetry, TelemetryError> {
    let destination = settings.access_log.as_ref().map(|path| match path.to_str() {
        Some("-") => Destination::Stdout,
        _ => Destination::File(path.clone()),
    });
    let service = format!("{}.{}", settings.workload.service, settings.workload.namespace);
    let own = match &settings.source {
        Source::ControlPlane { identity, .. } => Some(identity.clone()),
        Source::File { .. } | Source::Bootstrap(_) => {
            identity.and_then(Identity::current).map(|current| current.identity().clone())
        }
    };
    let mut readings = Vec::new();
    let status = discovery.status.clone();
    readings.push(Reading::configuration_age(move || status.age_seconds()));
    if let Some(identity) = identity.cloned() {
        readings.push(Reading::certificate_expiry(move || {
            Some(identity.expires_at()?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        }));
    }
    let access_log = match &settings.source {
        Source::Bootstrap(bootstrap) => bootstrap
            .access_log
            .as_ref()
            .map(|log| AccessLogSettings::of(log).map_err(TelemetryError::from))
            .transpose()?,
        _ => destination.map(|destination| AccessLogSettings { destination, format: Format::istio() }),
    };
    let defaults = TelemetrySettings::new(settings.workload.clone());
    Telemetry::new(TelemetrySettings {
        identity: own,
        access_log,
        traces: settings.otlp_endpoint.as_ref().map(|endpoint| TraceSettings::new(endpoint, &service)),
        readings,
        max_series: settings.max_series.unwrap_or(defaults.max_series),
        ..defaults
    })
}

/// What a page of metrics is made of.
#[derive(Clone)]
pub(super) struct Observed {
    pub telemetry: Telemetry,
    pub shared: Arc<Shared>,
}

impl Observed {
    /// All metrics in Prometheus' text format.
    pub(super) async fn page(&self) -> Parts {
        let parts = self.telemetry.parts(PageFormat::Prometheus).await;
        Box::new(std::iter::once(self.listeners()).chain(parts))
    }

    /// What happened to connections that were not simply served.
    fn listeners(&self) -> String {
        let statistics = &self.shared.statistics;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut count = |name: &str, help: &str, count: &AtomicU64| {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}");
        };
        count(
            "weft_listener_connections_over_limit_total",
            "Connections closed because there were too many.",
            &statistics.over_limit,
        );
        count(
            "weft_listener_accept_errors_total",
            "Times that no connection could be accepted, as when there are no file descriptors.",
            &statistics.accept_errors,
        );
        count(
            "weft_listener_panics_total",
            "Connections ended by a mistake of this proxy.",
            &statistics.panics,
        );
        let of_both =
            [("http", "Requests", &statistics.rbac), ("tcp", "Connections", &statistics.connection_rbac)];
        for (kind, what, rbac) in of_both {
            for (name, word, number) in [
                ("allowed", "role-based access control allowed", &rbac.allowed),
                ("denied", "role-based access control denied", &rbac.denied),
                ("shadow_allowed", "shadow rules would allow", &rbac.shadow_allowed),
                ("shadow_denied", "shadow rules would deny", &rbac.shadow_denied),
            ] {
                count(&format!("envoy_{kind}_rbac_{name}"), &format!("{what} that {word}."), number);
            }
        }
        let open = self.shared.open.count();
        let _ = writeln!(
            text,
            "# HELP weft_listener_connections Connections that are open.\n# TYPE weft_listener_connections gauge\n\
             weft_listener_connections {open}"
        );
        let name = "weft_listener_connection_events_total";
        let help = "Connections that a listener could not simply serve, by what happened and the port they were for.";
        let events = statistics.by_port();
        if !events.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        }
        for ((event, port), count) in events {
            let event = match event {
                Event::SniffTimeout => "protocol_detection_timeout",
                Event::Refused => "refused",
                Event::ProxyProtocol => "proxy_protocol",
                Event::HandshakeFailed => "handshake_failed",
                Event::Loop => "loop",
            };
            let _ = writeln!(text, "{name}{{event=\"{event}\",port=\"{port}\"}} {count}");
        }
        text
    }
}

/// Reports to the control plane, while the process lives.
pub(super) struct Reporting(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Reporting {
    /// Begins as soon as there is a certificate. Without a control plane there is nobody to tell.
    pub(super) fn start(settings: &Settings, telemetry: &Telemetry, identity: Option<&Identity>) -> Self {
        let (Source::ControlPlane { address, .. }, Some(identity)) = (&settings.source, identity.cloned())
        else {
            return Self(None);
        };
        let control_plane = ControlPlane {
            address: address.clone(),
            server_name: ControlPlane::SERVER_NAME.to_owned(),
            mark: settings.mark,
        };
        let settings = ReportSettings::new(&settings.node.to_string());
        let telemetry = telemetry.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let mut stopped = std::pin::pin!(stopped);
            tokio::select! {
                _ = identity.ready() => {}
                _ = &mut stopped => return,
            }
            match channel(&control_plane, &identity) {
                Ok(channel) => {
                    let reports = telemetry.reports(channel, settings);
                    reports.run(async move { drop(stopped.await) }).await;
                }
                Err(error) => tracing::error!("nothing can be reported: {error}"),
            }
        });
        Self(Some((stop, task)))
    }

    /// Sends what was not sent yet, within bounds.
    pub(super) async fn finish(self) {
        if let Some((stop, task)) = self.0 {
            let _ = stop.send(());
            let _ = task.await;
        }
    }
}
