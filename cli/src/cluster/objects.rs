//! Objects of any kind at the API server.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::Cluster;
use crate::command::{CommandError, FAILED};

/// Kinds that an installation has, with what their address is made of: kind, plural, and whether it is of a namespace.
const KINDS: [(&str, &str, bool); 15] = [
    ("ClusterRole", "clusterroles", false),
    ("ClusterRoleBinding", "clusterrolebindings", false),
    ("ConfigMap", "configmaps", true),
    ("CustomResourceDefinition", "customresourcedefinitions", false),
    ("DaemonSet", "daemonsets", true),
    ("Deployment", "deployments", true),
    ("HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false),
    ("Namespace", "namespaces", false),
    ("PodDisruptionBudget", "poddisruptionbudgets", true),
    ("Role", "roles", true),
    ("RoleBinding", "rolebindings", true),
    ("Service", "services", true),
    ("ServiceAccount", "serviceaccounts", true),
    ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false),
];

/// Which object, by what Kubernetes tells objects apart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Reference {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// In lower case and plural, as in addresses.
    pub plural: String,
    /// None where the kind is of the cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)?;
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in {namespace}"))
    }
}

impl Reference {
    /// Of an object that an installation has.
    ///
    /// # Errors
    /// When it is none of [`KINDS`].
    pub fn of(object: &Value) -> Result<Self, CommandError> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let Some((_, plural, namespaced)) = KINDS.iter().find(|(known, ..)| *known == kind) else {
            return Err(CommandError::new(
                FAILED,
                format!("`{kind}/{name}` is of a kind that no installation has"),
            ));
        };
        Ok(Self {
            api_version: text("/apiVersion"),
            kind,
            plural: (*plural).to_owned(),
            namespace: namespaced.then(|| text("/metadata/namespace")),
            name,
        })
    }

    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &self.kind), &self.plural)
    }
}

/// What an apply came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and is another now.
    Configured,
    /// It was there as it should be.
    Unchanged,
}

impl Outcome {
    /// As `kubectl` says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Cluster {
    /// The objects' end of the API server.
    #[must_use]
    pub fn api(&self, reference: &Reference) -> Api<DynamicObject> {
        let resource = reference.resource();
        match &reference.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// The object, if it is there. A kind that the cluster does not have has no objects.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn find(&self, reference: &Reference) -> Result<Option<DynamicObject>, CommandError> {
        let found = self.api(reference).get_opt(&reference.name).await;
        found.map_err(|error| self.failed(&format!("read {reference}"), &error))
    }

    /// Server-side apply: takes over what the object says, leaves what others wrote beside it.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn apply(
        &self,
        reference: &Reference,
        object: &Value,
        params: &PatchParams,
    ) -> Result<(Outcome, DynamicObject), CommandError> {
        let before = self.find(reference).await?;
        let after = self.api(reference).patch(&reference.name, params, &Patch::Apply(object)).await;
        let after = after.map_err(|error| self.failed(&format!("apply {reference}"), &error))?;
        let outcome = match before {
            None => Outcome::Created,
            // The API server leaves the version of what does not change, also when it only tries.
            Some(before) if unversioned(&before) == unversioned(&after) => Outcome::Unchanged,
            Some(_) => Outcome::Configured,
        };
        Ok((outcome, after))
    }

    /// Deletes an object and what it owns. Gives whether it was there.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn remove(&self, reference: &Reference, dry_run: bool) -> Result<bool, CommandError> {
        let params = kube::api::DeleteParams { dry_run, ..kube::api::DeleteParams::background() };
        match self.api(reference).delete(&reference.name, &params).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(self.failed(&format!("delete {reference}"), &error)),
        }
    }

    /// All objects of a kind, page by page. A kind that the cluster does not have has none.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn list(
        &self,
        reference: &Reference,
        labels: &str,
    ) -> Result<Vec<DynamicObject>, CommandError> {
        let api = match &reference.namespace {
            Some(namespace) if !namespace.is_empty() => {
                Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &reference.resource())
            }
            _ => Api::all_with(self.client.clone(), &reference.resource()),
        };
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let params =
                ListParams { continue_token: next, ..ListParams::default().labels(labels).limit(500) };
            let page = match api.list(&params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(all),
                page => page.map_err(|error| self.failed(&format!("list {}", reference.plural), &error))?,
            };
            all.extend(page.items);
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
    }
}

/// An object without what changes by the mere look of it.
fn unversioned(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    value
}
