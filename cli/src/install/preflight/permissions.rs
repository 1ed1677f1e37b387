//! Whether the user may do what the installation takes, asked of the API server.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use super::Problem;
use crate::cluster::Cluster;
use crate::cluster::objects::Reference;
use crate::command::CommandError;
use crate::install::names::NAMESPACE;
use crate::install::values::InstallValues;

/// One thing to be allowed: verb, group, plural, namespace.
type Act = (&'static str, String, String, Option<String>);

pub(super) async fn check(
    cluster: &Cluster,
    _values: &InstallValues,
    objects: &[Value],
) -> Result<Vec<Problem>, CommandError> {
    let acts = acts(objects)?;
    let answers = try_join_all(acts.iter().map(|act| allowed(cluster, act))).await?;
    let refused: Vec<String> =
        acts.iter().zip(answers).filter(|(_, allowed)| !allowed).map(|(act, _)| words(act)).collect();
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    let hint = "an administrator of the cluster can grant it, or install";
    Ok(vec![Problem::error(format!("context `{}` may not {}", cluster.context, refused.join(", ")), hint)])
}

/// What applying, pruning and keeping a record take.
fn acts(objects: &[Value]) -> Result<Vec<Act>, CommandError> {
    let mut acts = BTreeSet::new();
    for object in objects {
        let it = Reference::of(object)?;
        let group = it.api_version.split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
        for verb in ["get", "create", "patch"] {
            acts.insert((verb, group.clone(), it.plural.clone(), it.namespace.clone()));
        }
    }
    for verb in ["create", "get", "list", "patch"] {
        acts.insert((verb, String::new(), "secrets".to_owned(), Some(NAMESPACE.to_owned())));
    }
    for plural in ["mutatingwebhookconfigurations", "customresourcedefinitions"] {
        let group =
            if plural.starts_with('m') { "admissionregistration.k8s.io" } else { "apiextensions.k8s.io" };
        acts.insert(("list", group.to_owned(), plural.to_owned(), None));
    }
    // Who grants must hold what is granted, or be allowed to escalate; the API server says so object by object.
    Ok(acts.into_iter().collect())
}

async fn allowed(cluster: &Cluster, (verb, group, plural, namespace): &Act) -> Result<bool, CommandError> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some((*verb).to_owned()),
                group: Some(group.clone()),
                resource: Some(plural.clone()),
                namespace: namespace.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| cluster.failed("ask what this user may do", &error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn words((verb, group, plural, namespace): &Act) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let place = namespace.as_ref().map_or_else(String::new, |it| format!(" in {it}"));
    format!("{verb} {plural}{dot}{group}{place}")
}
