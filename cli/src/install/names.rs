//! Names that all parts of an installation agree on.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::values::InstallValues;

/// Where the control plane lives. Sidecars and certificates name it, so it is the same in every cluster.
pub const NAMESPACE: &str = "weft-system";
/// The control plane's Deployment, Service, ServiceAccount, Lease.
pub const CONTROL_PLANE: &str = "weft-control-plane";
/// The CNI agent's DaemonSet, ServiceAccount, ConfigMap.
pub const CNI: &str = "weft-cni";
/// The ConfigMap that injection is configured by.
pub const INJECTION: &str = "weft-injection";
/// The MutatingWebhookConfiguration.
pub const INJECTOR: &str = "weft-injector";
/// The ValidatingWebhookConfiguration.
pub const VALIDATOR: &str = "weft-validator";
/// The webhook in it, as the API server names it in its refusals.
pub const VALIDATOR_WEBHOOK: &str = "validate.weft.mesh";
/// The ConfigMap of every namespace that sidecars read the mesh's root certificate from.
pub const ROOT: &str = "weft-ca-root-cert";
/// The Secret that holds the mesh's certificate authority.
pub const AUTHORITY: &str = "weft-ca";
/// Label that names the control plane's revision.
pub const REVISION_LABEL: &str = "weft.mesh/rev";
/// Label of the application, as Kubernetes recommends.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Namespaces whose pods no webhook of ours ever sees, so that a dead control plane cannot keep the cluster from mending itself.
pub const NEVER_INJECTED: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", NAMESPACE];

/// Where sidecars, and the API server, reach the control plane.
pub mod port {
    /// xDS, certificates and reports over TLS.
    pub const XDS: i32 = 15012;
    /// The command line's API, on the pod's loopback address.
    pub const API: u16 = 15013;
    /// Health and metrics.
    pub const MONITORING: i32 = 15014;
    /// Webhooks.
    pub const WEBHOOK: i32 = 15017;
}

impl InstallValues {
    /// A name with the revision behind it.
    #[must_use]
    pub fn revised(&self, name: &str) -> String {
        if self.revision.is_empty() { name.to_owned() } else { format!("{name}-{}", self.revision) }
    }

    /// The revision as labels name it.
    #[must_use]
    pub fn revision_label(&self) -> &str {
        if self.revision.is_empty() { "default" } else { &self.revision }
    }

    /// The tag of the images.
    #[must_use]
    pub fn tag(&self) -> &str {
        if self.image.tag.is_empty() { env!("CARGO_PKG_VERSION") } else { &self.image.tag }
    }

    /// An image by its name.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.image.registry, self.tag())
    }

    /// The metadata of an object of a component: its labels as Kubernetes recommends them.
    #[must_use]
    pub fn metadata(&self, name: &str, component: &str, namespaced: bool) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: namespaced.then(|| NAMESPACE.to_owned()),
            labels: Some(self.labels(component)),
            ..ObjectMeta::default()
        }
    }

    /// Labels of every object.
    #[must_use]
    pub fn labels(&self, component: &str) -> BTreeMap<String, String> {
        let mut labels = self.selector(component);
        labels.insert("app.kubernetes.io/part-of".to_owned(), "weft".to_owned());
        labels.insert("app.kubernetes.io/version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        labels
    }

    /// Labels that pods of a component are selected by. They never change: a Deployment's selector cannot.
    #[must_use]
    pub fn selector(&self, component: &str) -> BTreeMap<String, String> {
        strings([
            ("app.kubernetes.io/name", "weft"),
            (COMPONENT_LABEL, component),
            (REVISION_LABEL, self.revision_label()),
        ])
    }

    /// The same as a selector.
    #[must_use]
    pub fn label_selector(&self, component: &str) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector(component)), ..LabelSelector::default() }
    }
}

/// A map of texts.
#[must_use]
pub fn strings<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
