//! How pods get their sidecars: the ConfigMap that says what is injected, and the webhooks that ask for it.
//!
//! A label selector knows no "or", so each label that asks for a sidecar has a webhook of its own; each leaves out what
//! one before it matches, so that a pod is asked about once.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::{Value, json};

use super::Objects;
use crate::install::names::{CONTROL_PLANE, INJECTION, INJECTOR, NAMESPACE, NEVER_INJECTED, port};
use crate::install::values::InstallValues;
use crate::output::yaml::to_yaml;

const COMPONENT: &str = "injection";
/// Labels of namespaces, each as good as the other; the first that a namespace has counts.
const NAMESPACE_LABELS: [Label; 4] = [
    Label { prefix: "", key: "weft.mesh/inject", istio: false, revision: false },
    Label { prefix: "istio.", key: "istio-injection", istio: true, revision: false },
    Label { prefix: "rev.", key: "weft.mesh/rev", istio: false, revision: true },
    Label { prefix: "istio-rev.", key: "istio.io/rev", istio: true, revision: true },
];
/// Labels of pods in namespaces that say nothing.
const POD_LABELS: [Label; 2] = [
    Label { prefix: "", key: "weft.mesh/inject", istio: false, revision: false },
    Label { prefix: "istio.", key: "sidecar.istio.io/inject", istio: true, revision: false },
];

/// A label by which a sidecar is asked for.
#[derive(Clone, Copy)]
struct Label {
    prefix: &'static str,
    key: &'static str,
    /// One of Istio's.
    istio: bool,
    /// Its value names a revision.
    revision: bool,
}

pub(super) fn add_configuration(values: &InstallValues, objects: &mut Objects) {
    let data = BTreeMap::from([("values".to_owned(), to_yaml(&injection_values(values)))]);
    objects.add(&ConfigMap {
        metadata: values.metadata(&values.revised(INJECTION), COMPONENT, true),
        data: Some(data),
        ..ConfigMap::default()
    });
}

/// What differs from the injector's own defaults.
#[must_use]
pub(crate) fn injection_values(values: &InstallValues) -> Value {
    let mut tree = json!({
        "image": {
            "registry": values.image.registry,
            "tag": values.tag(),
            "pullPolicy": values.image.pull_policy,
            "pullSecrets": values.image.pull_secrets,
        },
        "mesh": values.mesh.name,
        "trustDomain": values.mesh.trust_domain,
        "clusterDomain": values.mesh.cluster_domain,
        "revision": values.revision_label(),
        "discoveryAddress": format!("{}.{NAMESPACE}.svc:{}", values.revised(CONTROL_PLANE), port::XDS),
        "interception": {"cni": values.cni.enabled},
    });
    super::super::values::overlay(&mut tree, &values.injection.values);
    tree
}

pub(super) fn add_webhooks(values: &InstallValues, objects: &mut Objects) {
    if !values.injection.enabled {
        return;
    }
    let used = |label: &&Label| values.injection.istio_labels || !label.istio;
    let labels: Vec<&Label> = NAMESPACE_LABELS.iter().filter(used).collect();
    let mut webhooks = Vec::new();
    for (place, label) in labels.iter().enumerate() {
        // Labels without a revision mean the control plane that has none.
        if label.revision || values.revision.is_empty() {
            let value = if label.revision { values.revision_label() } else { "enabled" };
            let mut namespaces = not_of_the_cluster();
            namespaces.extend(labels[..place].iter().map(|before| absent(before.key)));
            namespaces.push(one_of("In", label.key, &[value]));
            let pods = POD_LABELS.iter().filter(used).map(|label| one_of("NotIn", label.key, &["false"]));
            webhooks.push(webhook(values, &format!("{}namespace", label.prefix), namespaces, pods.collect()));
        }
    }
    let pods: Vec<&Label> = POD_LABELS.iter().filter(used).collect();
    for (place, label) in pods.iter().enumerate() {
        let mut namespaces = not_of_the_cluster();
        namespaces.extend(labels.iter().map(|label| absent(label.key)));
        let mut selector: Vec<_> = pods[..place].iter().map(|before| absent(before.key)).collect();
        selector.push(one_of("In", label.key, &["true"]));
        selector.extend(revision_of_pod(values));
        webhooks.push(webhook(values, &format!("{}object", label.prefix), namespaces, selector));
    }
    objects.add(&MutatingWebhookConfiguration {
        metadata: values.metadata(&values.revised(INJECTOR), COMPONENT, false),
        webhooks: Some(webhooks),
    });
}

/// A pod that asks by itself may name the revision by itself too; one that names none means the control plane without.
fn revision_of_pod(values: &InstallValues) -> Vec<LabelSelectorRequirement> {
    if values.revision.is_empty() {
        return vec![absent("weft.mesh/rev"), absent("istio.io/rev")];
    }
    vec![one_of("In", "weft.mesh/rev", &[&values.revision])]
}

fn webhook(
    values: &InstallValues,
    name: &str,
    namespaces: Vec<LabelSelectorRequirement>,
    pods: Vec<LabelSelectorRequirement>,
) -> MutatingWebhook {
    let selector = |all| Some(LabelSelector { match_expressions: Some(all), ..LabelSelector::default() });
    MutatingWebhook {
        name: format!("{name}.inject.weft.mesh"),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: client(values, "/inject"),
        failure_policy: Some(values.injection.failure_policy.clone()),
        namespace_selector: selector(namespaces),
        object_selector: selector(pods),
        reinvocation_policy: Some("Never".to_owned()),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            operations: Some(vec!["CREATE".to_owned()]),
            resources: Some(vec!["pods".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        // Events tell of pods that get no sidecar.
        side_effects: "NoneOnDryRun".to_owned(),
        timeout_seconds: Some(10),
        ..MutatingWebhook::default()
    }
}

/// Where the API server asks. The control plane puts its certificate authority in.
pub(super) fn client(values: &InstallValues, path: &str) -> WebhookClientConfig {
    WebhookClientConfig {
        service: Some(ServiceReference {
            name: values.revised(CONTROL_PLANE),
            namespace: NAMESPACE.to_owned(),
            path: Some(path.to_owned()),
            port: Some(443),
        }),
        ..WebhookClientConfig::default()
    }
}

fn not_of_the_cluster() -> Vec<LabelSelectorRequirement> {
    vec![one_of("NotIn", "kubernetes.io/metadata.name", &NEVER_INJECTED)]
}

fn one_of(operator: &str, key: &str, values: &[&str]) -> LabelSelectorRequirement {
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    }
}

fn absent(key: &str) -> LabelSelectorRequirement {
    LabelSelectorRequirement { key: key.to_owned(), operator: "DoesNotExist".to_owned(), values: None }
}
