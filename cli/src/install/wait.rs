//! Waits until an installation is in force: its pods are ready, and the API server reaches its webhook.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tokio::time::Instant;

use super::names::{CONTROL_PLANE, NAMESPACE, VALIDATOR_WEBHOOK};
use super::values::InstallValues;
use crate::cluster::Cluster;
use crate::cluster::replicas::{is_ready, name};
use crate::command::{CommandError, INCOMPLETE};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// What nothing can be called: a host that our webhook has to refuse, and that the schema of no other's definition does.
const NO_HOST: &str = "webhook probe";

/// Waits for the rollout, then for the webhook.
///
/// # Errors
/// When the time is up: says what was waited for and why it did not come.
pub async fn ready(
    cluster: &Cluster,
    values: &InstallValues,
    limit: Duration,
    mut told: impl FnMut(&str),
) -> Result<(), CommandError> {
    let deadline = Instant::now() + limit;
    let late = |what: String| {
        CommandError::new(INCOMPLETE, format!("everything was applied, but after {}: {what}", humantime::format_duration(limit)))
            .hint("`weft check` shows more; `weft install` with the same arguments goes on waiting; --rollback goes back")
    };
    loop {
        let state = rollout(cluster, values).await?;
        let Some(state) = state else { break };
        told(&state);
        if Instant::now() >= deadline {
            let why = reasons(cluster, values).await?;
            return Err(late(format!("{state}{why}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !values.validation.enabled {
        return Ok(());
    }
    while let Some(state) = webhook(cluster).await? {
        told(&state);
        if Instant::now() >= deadline {
            return Err(late(state));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// What the Deployment still lacks; none when it is as it should be.
async fn rollout(cluster: &Cluster, values: &InstallValues) -> Result<Option<String>, CommandError> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let wanted = values.revised(CONTROL_PLANE);
    let found = api
        .get(&wanted)
        .await
        .map_err(|error| cluster.failed(&format!("read Deployment/{wanted}"), &error))?;
    let (spec, status) = (found.spec.unwrap_or_default(), found.status.unwrap_or_default());
    if status.observed_generation < found.metadata.generation {
        return Ok(Some("the Deployment was not looked at yet".to_owned()));
    }
    let all = spec.replicas.unwrap_or(1);
    let (updated, available) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let total = status.replicas.unwrap_or(0);
    if updated < all || available < all || total > updated {
        let old = total - updated;
        let leaving = if old > 0 { format!(", {old} of the former still there") } else { String::new() };
        return Ok(Some(format!("{available} of {all} control-plane pods ready{leaving}")));
    }
    Ok(None)
}

/// Why pods are not ready, as the scheduler and the kubelet say.
async fn reasons(cluster: &Cluster, values: &InstallValues) -> Result<String, CommandError> {
    let mut lines = String::new();
    for pod in cluster.control_plane_pods().await? {
        let revision =
            pod.metadata.labels.as_ref().and_then(|labels| labels.get(super::names::REVISION_LABEL));
        if revision.is_some_and(|it| it == values.revision_label()) && !is_ready(&pod) {
            lines.push_str(&format!("\n  {}: {}", name(&pod), reason(&pod)));
        }
    }
    Ok(lines)
}

/// Why a pod is not ready.
#[must_use]
pub fn reason(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "nothing is known of it".to_owned() };
    let waiting =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    for container in waiting {
        let Some(state) = &container.state else { continue };
        if let Some(waiting) = &state.waiting {
            let message = waiting.message.as_deref().map_or_else(String::new, |text| format!(": {text}"));
            return format!("{}{message}", waiting.reason.as_deref().unwrap_or("waiting"));
        }
        if let Some(ended) = &state.terminated {
            return format!("it ended with exit code {}", ended.exit_code);
        }
    }
    let unmet = status.conditions.iter().flatten().find(|it| it.status == "False" && it.message.is_some());
    match unmet {
        Some(condition) => format!(
            "{}: {}",
            condition.reason.as_deref().unwrap_or(&condition.type_),
            condition.message.as_deref().unwrap_or_default()
        ),
        None => status.phase.clone().unwrap_or_else(|| "not ready".to_owned()),
    }
}

/// Why the webhook does not answer the API server; none when it does. The API server is asked to try a policy that the
/// webhook has to refuse: only when it does were its address, its certificate and its parser all right. Nothing is
/// stored.
///
/// # Errors
/// When the API server does not answer, or this user may not try.
pub async fn webhook(cluster: &Cluster) -> Result<Option<String>, CommandError> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    let resource = ApiResource::from_gvk_with_plural(&kind, "destinationrules");
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &resource);
    let object = DynamicObject::new("weft-webhook-probe", &resource).data(json!({"spec": {"host": NO_HOST}}));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &object).await {
        Ok(_) => Ok(Some(format!("the API server does not reach the webhook `{VALIDATOR_WEBHOOK}`"))),
        // `failed calling webhook "NAME"`, where it may not pass what it cannot ask about.
        Err(kube::Error::Api(status)) if status.message.contains("failed calling webhook") => {
            Ok(Some(status.message.clone()))
        }
        // `admission webhook "NAME" denied the request`: by ours, not another's.
        Err(kube::Error::Api(status)) if status.message.contains(VALIDATOR_WEBHOOK) => Ok(None),
        // The kind may be so new that it is not served yet.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Ok(Some("the policies' kinds are not served yet".to_owned()))
        }
        Err(error) => Err(cluster.failed("try a policy", &error)),
    }
}
