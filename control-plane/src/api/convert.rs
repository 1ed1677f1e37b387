//! Between our types and the API's messages.

use std::sync::Arc;

use weft_proto::api::{self, ObjectChange, StoredObject};

use crate::source::store::{Change, Outcome};
use crate::source::{Finding, Object};

pub(super) fn reference(name: &weft_model::provenance::ObjectRef) -> api::ObjectRef {
    api::ObjectRef {
        api_version: name.api_version.to_string(),
        kind: name.kind.to_string(),
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
    }
}

pub(super) fn change(outcome: &Outcome) -> ObjectChange {
    let change = match outcome.change {
        Change::Created => api::Change::Created,
        Change::Configured => api::Change::Configured,
        Change::Unchanged => api::Change::Unchanged,
        Change::Deleted => api::Change::Deleted,
    };
    ObjectChange {
        object: Some(reference(&outcome.object.reference)),
        change: change.into(),
        generation: outcome.object.generation,
    }
}

pub(super) fn stored(object: &Arc<Object>, findings: &[Finding]) -> StoredObject {
    let of_it = findings.iter().filter(|finding| finding.object.as_ref() == Some(&object.reference));
    StoredObject {
        object: Some(reference(&object.reference)),
        generation: object.generation,
        created: object.metadata.created.map(|time| time.to_string()).unwrap_or_default(),
        origin: object.origin.to_string(),
        yaml: object.text.to_string(),
        json: object.to_json().to_string(),
        findings: of_it.map(Into::into).collect(),
    }
}
