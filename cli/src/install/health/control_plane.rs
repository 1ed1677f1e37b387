//! The control plane's pods, kinds and webhooks.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use weft_control_plane::crds;

use super::Check;
use crate::cluster::Cluster;
use crate::cluster::replicas::{is_ready, name};
use crate::command::{CommandError, NOT_FOUND};
use crate::install::names::{NAMESPACE, REVISION_LABEL};
use crate::install::wait;

const OURS: &str = "app.kubernetes.io/name=weft";

pub(super) async fn check(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let labels = ListParams::default().labels(&format!("{OURS},app.kubernetes.io/component=control-plane"));
    let found =
        deployments.list(&labels).await.map_err(|error| cluster.failed("list the Deployments", &error))?;
    if found.items.is_empty() {
        return Ok(vec![Check::error(
            "control plane",
            format!("there is none in {NAMESPACE}"),
            "`weft install` brings it",
        )]);
    }
    let mut checks: Vec<Check> = found.items.iter().map(deployment).collect();
    checks.extend(pods(cluster).await?);
    checks.extend(kinds(cluster).await?);
    checks.extend(webhooks(cluster).await?);
    Ok(checks)
}

fn deployment(deployment: &Deployment) -> Check {
    let revision = deployment.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION_LABEL));
    let revision = revision.map_or("default", String::as_str);
    let all = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    let message = format!("revision {revision}: {available} of {all} pods ready");
    let hint = "`weft logs --control-plane` and `kubectl -n weft-system describe pods` say why";
    match available {
        0 => Check::error("control plane", message, hint),
        some if some < all => Check::warning("control plane", message, hint),
        _ => Check::ok("control plane", message),
    }
}

/// Why pods are not ready.
async fn pods(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let pods = cluster.control_plane_pods().await?;
    let unready = pods.iter().filter(|pod| !is_ready(pod));
    let check = |pod| {
        let message = format!("{} is not ready: {}", name(pod), wait::reason(pod));
        Check::warning("pods", message, "").about(vec![format!("{NAMESPACE}/{}", name(pod))])
    };
    Ok(unready.map(check).collect())
}

/// Whether the cluster serves all kinds of policies.
async fn kinds(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let mut missing = Vec::new();
    for kind in crds::policies() {
        match cluster.served(kind).await {
            Ok(_) => {}
            Err(error) if error.code == NOT_FOUND => missing.push(kind.name),
            Err(error) => return Err(error),
        }
    }
    Ok(vec![if missing.is_empty() {
        Check::ok("kinds", "all kinds of policies are served")
    } else {
        let message = format!("the cluster has no {}", missing.join(", "));
        Check::warning("kinds", message, "`weft install` brings them, unless crds.install is false")
    }])
}

/// Whether the API server can ask the webhooks.
async fn webhooks(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let mut checks = Vec::new();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let found = mutating.list(&ListParams::default().labels(OURS)).await;
    for configuration in found.map_err(|error| cluster.failed("list the webhook configurations", &error))? {
        let configured = configuration.metadata.name.unwrap_or_default();
        let trusted = |client: &WebhookClientConfig| {
            client.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
        };
        if !configuration.webhooks.iter().flatten().all(|webhook| trusted(&webhook.client_config)) {
            let message =
                format!("{configured} has no certificate authority: pods that ask for a sidecar are refused");
            checks.push(Check::error("webhook", message, "a control plane puts it in as soon as one runs"));
        }
    }
    match wait::webhook(cluster).await {
        Ok(None) => checks.push(Check::ok("webhook", "the API server reaches it")),
        Ok(Some(why)) => checks.push(Check::warning(
            "webhook",
            why,
            "is the port 15017 of weft-system open to the API server?",
        )),
        // Who may not write policies cannot try one.
        Err(error) => {
            checks.push(Check::warning("webhook", format!("it was not tried: {}", error.message), ""))
        }
    }
    Ok(checks)
}
