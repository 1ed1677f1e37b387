//! The webhook that checks policies when they are written.

use k8s_openapi::api::admissionregistration::v1::{
    RuleWithOperations, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use weft_control_plane::crds;
use weft_control_plane::source::Kind;

use super::{Objects, injection};
use crate::install::names::{VALIDATOR, VALIDATOR_WEBHOOK};
use crate::install::values::InstallValues;

pub(super) fn add(values: &InstallValues, objects: &mut Objects) {
    if !values.validation.enabled {
        return;
    }
    objects.add(&ValidatingWebhookConfiguration {
        metadata: values.metadata(&values.revised(VALIDATOR), "validation", false),
        webhooks: Some(vec![ValidatingWebhook {
            name: VALIDATOR_WEBHOOK.to_owned(),
            admission_review_versions: vec!["v1".to_owned()],
            client_config: injection::client(values, "/validate"),
            failure_policy: Some(values.validation.failure_policy.clone()),
            rules: Some(rules()),
            side_effects: "None".to_owned(),
            // Who applies a policy waits.
            timeout_seconds: Some(5),
            ..ValidatingWebhook::default()
        }]),
    });
}

/// One rule for each group: its kinds, in all versions.
fn rules() -> Vec<RuleWithOperations> {
    let policies: Vec<&Kind> = crds::policies().collect();
    let mut groups: Vec<&str> = policies.iter().map(|kind| kind.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let rule = |group: &str| RuleWithOperations {
        api_groups: Some(vec![group.to_owned()]),
        api_versions: Some(vec!["*".to_owned()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(
            policies.iter().filter(|kind| kind.group == group).map(|kind| kind.plural.to_owned()).collect(),
        ),
        scope: Some("Namespaced".to_owned()),
    };
    groups.into_iter().map(rule).collect()
}
