//! Where a compiled rule came from. Travels with the rule through xDS metadata to the proxy, the access log and
//! every answer to "which rule applied?".

use std::fmt;
use std::sync::Arc;

/// One user object, by the names of its YAML.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, such as `gateway.networking.k8s.io/v1`; `v1` for core objects.
    pub api_version: Arc<str>,
    /// Such as `HTTPRoute`.
    pub kind: Arc<str>,
    /// Never empty.
    pub namespace: Arc<str>,
    /// Never empty.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference of its four parts.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// `Kind/namespace/name`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// The object, the generation of it and the field that a compiled rule came from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What the user wrote.
    pub object: ObjectRef,
    /// Grows by one with every change of the object's content.
    pub generation: u64,
    /// Path of the field, such as `spec.rules[0]`; empty for the whole object.
    pub field: Arc<str>,
}

/// `Kind/namespace/name@generation field`.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.object, self.generation)?;
        if self.field.is_empty() { Ok(()) } else { write!(f, " {}", self.field) }
    }
}
