//! One checked object: what every kind has, and the closed set of kinds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use weft_model::provenance::{ObjectRef, Provenance};

use super::diagnostic::{Finding, Severity};
use super::document::{Node, json, yaml};
use super::kinds::destination_rule::DestinationRule;
use super::kinds::endpoint_slice::EndpointSlice;
use super::kinds::http_route::HttpRoute;
use super::kinds::peer_authentication::PeerAuthentication;
use super::kinds::pod::Pod;
use super::kinds::service::Service;
use super::kinds::service_entry::ServiceEntry;
use super::kinds::virtual_service::VirtualService;
use super::kinds::workload_entry::WorkloadEntry;
use super::words::Labels;

/// One object that was accepted.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// Its name. The API version is the kind's preferred one, whichever served version the user wrote.
    pub reference: ObjectRef,
    /// What every kind has.
    pub metadata: Metadata,
    /// Grows by one with every change of the content; 0 until a store has taken the object.
    pub generation: u64,
    /// Who holds it.
    pub origin: Origin,
    /// Where the text stands.
    pub place: Place,
    /// The object as the user wrote it, comments included: one YAML document.
    pub text: Arc<str>,
    /// What it says.
    pub spec: Spec,
}

/// What every kind has (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// For selectors.
    pub labels: Labels,
    /// For tools.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// RFC 3339. Older objects win conflicts, as the Gateway API asks.
    pub created: Option<jiff::Timestamp>,
}

/// Where an object's text stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// As the user named it; empty when the object did not come from a file.
    pub file: Arc<str>,
    /// Lines of the file before the text.
    pub line: u32,
}

/// Who holds an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Origin {
    /// Applied with `weft apply`; the store holds it.
    #[default]
    Api,
    /// A file of the directory that is watched.
    Directory,
    /// Made for a workload that was started with `weft run`.
    Run,
    /// A Kubernetes API server.
    Kubernetes,
}

impl Origin {
    /// The word of the API: `api`, `directory`, `run`, `kubernetes`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Directory => "directory",
            Self::Run => "run",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// By its word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Api, Self::Directory, Self::Run, Self::Kubernetes]
            .into_iter()
            .find(|origin| origin.as_str() == word)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an object says, by kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    /// Gateway API.
    HttpRoute(HttpRoute),
    /// Istio.
    VirtualService(VirtualService),
    /// Istio.
    DestinationRule(DestinationRule),
    /// Istio.
    PeerAuthentication(PeerAuthentication),
    /// Istio.
    ServiceEntry(ServiceEntry),
    /// Istio.
    WorkloadEntry(WorkloadEntry),
    /// Kubernetes.
    Service(Service),
    /// Kubernetes.
    Pod(Pod),
    /// Kubernetes.
    EndpointSlice(EndpointSlice),
    /// Kubernetes; its labels say all.
    Namespace,
    /// Kubernetes; its labels say all.
    Node,
}

impl Object {
    /// The object's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<str> {
        &self.reference.namespace
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.reference.name
    }

    /// Where a rule that stands at `field` came from.
    #[must_use]
    pub fn provenance(&self, field: &str) -> Provenance {
        Provenance { object: self.reference.clone(), generation: self.generation, field: field.into() }
    }

    /// The text as a tree. The text was parsed before, so this fails only when memory does.
    #[must_use]
    pub fn document(&self) -> Node {
        yaml::parse(&self.text).0.unwrap_or_default()
    }

    /// The object as JSON, for `get -o json`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json::to_json(&self.document())
    }

    /// A finding about a field of this object, with its place in the user's file.
    #[must_use]
    pub fn finding(
        &self,
        severity: Severity,
        code: &'static str,
        field: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Finding {
        let finding = Finding::new(severity, code, message).hint(hint).of(&self.reference, field);
        if self.place.file.is_empty() {
            return finding;
        }
        let span = self.document().locate(field);
        finding.at(&self.place.file, &self.text, self.place.line, &span)
    }

    /// Whether both say the same, comments, layout and server-managed fields aside.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.reference == other.reference
            && self.metadata.labels == other.metadata.labels
            && self.metadata.annotations == other.metadata.annotations
            && self.spec == other.spec
    }
}
