//! AdmissionReview v1 (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;

const API_VERSION: &str = "admission.k8s.io/v1";
/// Kubernetes cuts warnings at 256 bytes each and 4096 in all
/// (<https://kubernetes.io/blog/2020/09/03/warnings/#admission-webhooks>).
const MAX_WARNING: usize = 256;
const MAX_WARNINGS: usize = 4096;

/// What the API server asks.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Review {
    pub uid: String,
    pub kind: String,
    pub namespace: String,
    pub operation: String,
    /// Null when something is deleted.
    pub object: Value,
    /// Null when something is created.
    pub old_object: Value,
    /// Nothing will come of it, so nothing may be left behind.
    pub dry_run: bool,
}

/// A body that is no review.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unreadable {
    /// With it the API server can be answered in its own form.
    pub uid: Option<String>,
    pub message: String,
}

/// Reads a posted review.
pub(super) fn read(body: &[u8]) -> Result<Review, Unreadable> {
    let without_uid = |message: String| Unreadable { uid: None, message };
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| without_uid(format!("the body is no AdmissionReview: not JSON: {error}")))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let uid = text(&review["request"]["uid"]);
    let unreadable = |message: String| Unreadable { uid: (!uid.is_empty()).then(|| uid.clone()), message };
    let (version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if (version.as_str(), kind.as_str()) != (API_VERSION, "AdmissionReview") {
        let message =
            format!("the body is `{kind}` of `{version}`; AdmissionReview of {API_VERSION} is answered");
        return Err(unreadable(message));
    }
    if uid.is_empty() {
        return Err(without_uid("the AdmissionReview has no request.uid".to_owned()));
    }
    let request = &mut review["request"];
    let object = request["object"].take();
    if !object.is_object() && !object.is_null() {
        return Err(unreadable("request.object of the AdmissionReview is no object".to_owned()));
    }
    Ok(Review {
        uid,
        kind: text(&request["kind"]["kind"]),
        namespace: text(&request["namespace"]),
        operation: text(&request["operation"]),
        object,
        old_object: request["oldObject"].take(),
        dry_run: request["dryRun"] == Value::Bool(true),
    })
}

/// What it is answered.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Response {
    uid: String,
    /// Code, reason and message of a denial.
    denial: Option<(u16, &'static str, String)>,
    warnings: Vec<String>,
    patch: Option<Vec<u8>>,
}

impl Response {
    /// As it is.
    pub(super) fn allowed(uid: &str) -> Self {
        Self { uid: uid.to_owned(), denial: None, warnings: Vec::new(), patch: None }
    }

    /// Not at all.
    pub(super) fn denied(uid: &str, code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { denial: Some((code, reason, message.into())), ..Self::allowed(uid) }
    }

    /// With the changes that make `after` of `before`.
    pub(super) fn patched(mut self, before: &Value, after: &Value) -> Self {
        let patch = json_patch::diff(before, after);
        if !patch.0.is_empty() {
            self.patch = serde_json::to_vec(&patch).ok();
        }
        self
    }

    /// With what `kubectl` shows besides.
    pub(super) fn warned(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        let mut room = MAX_WARNINGS;
        for mut warning in warnings {
            // One line each, and never in the middle of a character.
            warning = warning.replace('\n', " ");
            let end = (0..=MAX_WARNING.min(warning.len())).rev().find(|&end| warning.is_char_boundary(end));
            warning.truncate(end.unwrap_or(0));
            if warning.len() > room {
                break;
            }
            room -= warning.len();
            self.warnings.push(warning);
        }
        self
    }

    /// As the API server reads it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut response = Map::new();
        response.insert("uid".to_owned(), json!(self.uid));
        response.insert("allowed".to_owned(), json!(self.denial.is_none()));
        if let Some((code, reason, message)) = &self.denial {
            response.insert("status".to_owned(), json!({"code": code, "reason": reason, "message": message}));
        }
        if !self.warnings.is_empty() {
            response.insert("warnings".to_owned(), json!(self.warnings));
        }
        if let Some(patch) = &self.patch {
            response.insert("patchType".to_owned(), json!("JSONPatch"));
            response.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
        }
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
            .to_string()
            .into_bytes()
    }
}
