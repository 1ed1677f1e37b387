//! Pods of this node whose rules are missing: they came before the plugin was there, or while somebody had taken it out
//! of the network configuration. Their init container has found out, so that they do not serve; but by themselves they
//! would try for ever, in a network namespace that nobody sets rules in any more.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::kubernetes::{Api, ApiError};
use super::pod::is_unprotected;

/// Between two looks; the init container itself needs seconds to find out.
const EVERY: Duration = Duration::from_secs(5);
/// Pods of one answer.
const PAGE: usize = 500;
/// The label of a pod that was left for others to deal with.
pub const LABEL: &str = "weft.mesh/unprotected";

/// What is done with such a pod.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Repair {
    /// It is deleted: whoever made it makes another, with rules.
    Delete,
    /// It gets the label `weft.mesh/unprotected=true`.
    Label,
    /// Nothing.
    None,
}

/// Looks for such pods on a node, for ever.
pub async fn run(api: Api, node: String, repair: Repair) {
    if repair == Repair::None {
        return;
    }
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        match once(&api, &node, repair).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, ?repair, "pods had started without their rules"),
            Err(error) => tracing::warn!("did not look for pods without their rules: {error}"),
        }
    }
}

/// Looks once; gives how many were found.
///
/// # Errors
/// Of the API server. What it refuses for one pod does not hinder the others.
pub async fn once(api: &Api, node: &str, repair: Repair) -> Result<usize, ApiError> {
    let (mut found, mut next) = (0, String::new());
    loop {
        let selector = format!("fieldSelector=spec.nodeName%3D{node}");
        let page = api.get(&format!("/api/v1/pods?{selector}&limit={PAGE}&continue={next}")).await?;
        for pod in page["items"].as_array().into_iter().flatten().filter(|pod| is_unprotected(pod)) {
            if repair == Repair::Label && pod["metadata"]["labels"][LABEL] == "true" {
                continue;
            }
            found += 1;
            if let Err(error) = one(api, pod, repair).await
                && !error.is_not_found()
            {
                tracing::warn!("a pod without its rules stays: {error}");
            }
        }
        match page["metadata"]["continue"].as_str().filter(|more| !more.is_empty()) {
            Some(more) => next = more.to_owned(),
            None => return Ok(found),
        }
    }
}

async fn one(api: &Api, pod: &Value, repair: Repair) -> Result<(), ApiError> {
    let meta = &pod["metadata"];
    let [namespace, name, uid] =
        ["namespace", "name", "uid"].map(|key| meta[key].as_str().unwrap_or_default().to_owned());
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let done = match repair {
        Repair::Delete => "it is deleted, so that another is made with them",
        Repair::Label => "it is labelled `weft.mesh/unprotected=true`",
        Repair::None => return Ok(()),
    };
    // Told before: of what is gone nothing can be told.
    let event = json!({
        "metadata": { "generateName": format!("{name}."), "namespace": namespace },
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": uid },
        "type": "Warning",
        "reason": "NotIntercepted",
        "message": format!("the pod's network namespace lacks the rules that bring its traffic to the sidecar; {done}"),
        "source": { "component": "weft-cni" },
        "count": 1,
    });
    if let Err(error) = api.create(&format!("/api/v1/namespaces/{namespace}/events"), &event).await {
        tracing::debug!("no event was made: {error}");
    }
    tracing::warn!(pod = format!("{namespace}/{name}"), "a pod has started without its rules: {done}");
    match repair {
        // Of the same uid only: another may have its name by now.
        Repair::Delete => api.delete(&path, &json!({ "preconditions": { "uid": uid } })).await.map(drop),
        Repair::Label => {
            let change = json!({ "metadata": { "uid": uid, "labels": { LABEL: "true" } } });
            api.merge(&path, &change).await.map(drop)
        }
        Repair::None => Ok(()),
    }
}
