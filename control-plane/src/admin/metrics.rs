//! The control plane's own metrics. Names are istiod's where it has one.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::pages::{Served, text};
use crate::source::kubernetes::Contact;
use crate::webhook::WebhookMetrics;

/// The page, computed when it is asked for.
pub(super) fn page(
    served: &Served,
    contact: Option<&Contact>,
    webhooks: Option<&WebhookMetrics>,
) -> Response<Full<Bytes>> {
    let Served { state, push } = served;
    let world = state.world().load_full();
    let findings = state.findings();
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let statuses = push.tracker().status(None);
    let refused =
        statuses.iter().flat_map(|entry| &entry.types).filter(|kind| kind.state == "REFUSED").count();
    let mut registry = Registry::default();
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("pilot_xds", "Sidecars that are connected", push.connected().len());
    gauge("pilot_services", "Services of the mesh", world.services.len());
    gauge("weft_workloads", "Workloads of the mesh", world.workloads.len());
    gauge("weft_world_revision", "Number of the current world", world.revision as usize);
    gauge("weft_object_findings", "What is wrong with or worth knowing about objects", findings.len());
    gauge("weft_object_errors", "Objects or files that are held back because of a mistake", errors);
    gauge("weft_resources_refused", "Resource types that a sidecar has refused", refused);
    if let Some(contact) = contact {
        let age: Gauge<f64, AtomicU64> = Gauge::default();
        age.set(contact.age().as_secs_f64());
        let help = "Since the API server was last heard of: how old what is known of the cluster may be";
        registry.register("weft_source_age_seconds", help, age);
    }
    if let Some(webhooks) = webhooks {
        webhooks.register(&mut registry);
    }
    let compiles = push.compiler().compiles();
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    let help = "Compiles of clusters, listeners, routes and names: one a class of sidecars and push";
    counter("weft_configuration_compiles", help, compiles.configuration);
    let help = "Compiles of endpoints: one for all classes of sidecars that see the same, and push";
    counter("weft_endpoint_compiles", help, compiles.endpoints);
    let help = "Endpoint sets that were compiled: those of services whose workloads changed";
    counter("weft_endpoint_sets_compiled", help, compiles.endpoint_sets);
    let mut body = String::new();
    match encode(&mut body, &registry) {
        Ok(()) => text(StatusCode::OK, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
