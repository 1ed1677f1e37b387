//! The webhooks of a control plane in a cluster, all parts together.

use std::sync::Arc;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{ConfigurationNames, Events, Webhook, WebhookMetrics, keep_ca_bundles, serve};
use crate::authority::{AuthorityError, CertificateAuthority};
use crate::inject::Injector;
use crate::source::words::Labels;
use crate::source::{Finding, Object};

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;

/// What they need of the rest of the control plane.
pub struct Parts<L, O> {
    /// The API server, for events and the configurations' bundles.
    pub client: Client,
    /// Where API servers connect: 15017.
    pub listener: TcpListener,
    /// Issues the certificate.
    pub authority: Arc<CertificateAuthority>,
    /// The names that API servers verify: `SERVICE.NAMESPACE.svc`.
    pub dns_names: Vec<String>,
    /// The control plane's revision; `default` for the only one.
    pub revision: String,
    /// The key `values` of the ConfigMap `weft-injection`, now and after each change; none while it is not there.
    pub values: watch::Receiver<Option<String>>,
    /// Labels of a namespace; none of one that is not known.
    pub namespaces: L,
    /// The objects in force.
    pub objects: O,
    /// Where it counts.
    pub metrics: WebhookMetrics,
}

/// Serves the webhooks until `ended`, then finishes what is under way.
///
/// # Errors
/// When no certificate can be issued.
pub async fn run<L, O>(parts: Parts<L, O>, ended: impl Future<Output = ()>) -> Result<(), AuthorityError>
where
    L: Fn(&str) -> Option<Labels> + Send + Sync + 'static,
    O: Fn() -> Vec<Arc<Object>> + Send + Sync + 'static,
{
    let injector = Arc::new(Injector::of_defaults(&parts.revision));
    let webhook = Webhook::new(Arc::clone(&injector))
        .with_namespaces(parts.namespaces)
        .with_objects(parts.objects)
        .with_events(Events::to(parts.client.clone()))
        .with_metrics(parts.metrics);
    let names = ConfigurationNames::of_revision(&parts.revision);
    let served =
        serve(parts.listener, Arc::clone(&parts.authority), parts.dns_names, Arc::new(webhook), ended);
    tokio::select! {
        served = served => served,
        // Neither ends.
        () = keep_ca_bundles(parts.client, names, parts.authority) => Ok(()),
        () = follow_values(injector, parts.values) => Ok(()),
    }
}

/// Injects by the newest values that are without a mistake; those with one are told of and left aside.
pub async fn follow_values(injector: Arc<Injector>, mut values: watch::Receiver<Option<String>>) {
    loop {
        let text = values.borrow_and_update().clone();
        // Without the ConfigMap the last values stay: it may be on its way from one version to the next.
        if let Some(text) = text {
            match injector.update(&text) {
                Ok(()) => {
                    tracing::info!(template = injector.configuration().hash(), "injecting by new values")
                }
                Err(findings) => tell(&findings),
            }
        }
        if values.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn tell(findings: &[Finding]) {
    for finding in findings {
        tracing::error!(%finding, "the injection's values have a mistake; the former stay in use");
    }
}
