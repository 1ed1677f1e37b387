//! The pods within the documents of a file.

use std::sync::Arc;

use serde_json::Value;
use weft_control_plane::inject::{Injector, Outcome, Request, Scope, placed, restore};
use weft_control_plane::source::document::split::parts;
use weft_control_plane::source::document::{Span, json::to_json, yaml};
use weft_control_plane::source::{Finding, Severity, diagnostic::code};
use weft_model::provenance::ObjectRef;

use super::edit::rewritten;

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;

/// What is done to pods.
#[derive(Clone, Copy)]
pub(super) enum Action<'a> {
    /// They get a sidecar.
    Inject(&'a Injector),
    /// They are as they were before.
    Remove,
}

/// A file as it was read.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// A finding and the path of the object that it is about; its own path is within that object.
type Told = (String, Finding);

impl File<'_> {
    /// The text with every pod changed; documents without any are as they were, byte for byte.
    pub(super) fn change(self, action: Action<'_>, findings: &mut Vec<Finding>) -> String {
        let file: Arc<str> = self.name.into();
        let mut text = String::with_capacity(self.text.len());
        let mut end = 0;
        for part in parts(self.text) {
            text.push_str(&self.text[end..part.offset]);
            end = part.offset + part.text.len();
            let (root, errors) = yaml::parse(part.text);
            for error in errors {
                let finding = Finding::new(Severity::Error, error.code, error.message).hint(error.hint);
                findings.push(finding.at(&file, part.text, part.line, &first_line(error.span)));
            }
            let Some(root) = root else { continue };
            let mut object = to_json(&root);
            let mut told = Vec::new();
            change_object(&mut object, "", action, &mut told);
            findings.extend(told.into_iter().map(|(path, finding)| {
                let finding = Finding { field: within(&path, &finding.field), ..finding };
                let span = first_line(root.locate(&finding.field));
                finding.at(&file, part.text, part.line, &span)
            }));
            let (changed, kept_layout) = rewritten(part.text, &root, &object);
            if !kept_layout {
                let message = "the document was written anew: its comments and layout are gone";
                let hint = "anchors and values in braces cannot be changed in place; write them out";
                let finding = Finding::new(Severity::Warning, code::NO_EFFECT, message).hint(hint);
                findings.push(finding.at(&file, part.text, part.line, &first_line(root.span.clone())));
            }
            text.push_str(&changed);
        }
        text.push_str(&self.text[end..]);
        text
    }
}

/// What is wrong with a document as a whole is shown at its beginning.
fn first_line(span: Span) -> Span {
    if span.line == 0 { Span { line: 1, column: 1, bytes: 0..0 } } else { span }
}

fn within(path: &str, field: &str) -> String {
    match (path, field) {
        ("", field) => field.to_owned(),
        (path, "") => path.to_owned(),
        (path, field) if field.starts_with('[') => format!("{path}{field}"),
        (path, field) => format!("{path}.{field}"),
    }
}

/// Changes an object, or every item of a list.
fn change_object(object: &mut Value, path: &str, action: Action<'_>, told: &mut Vec<Told>) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if kind == "List" {
        for (index, item) in object["items"].as_array_mut().into_iter().flatten().enumerate() {
            change_object(item, &within(path, &format!("items[{index}]")), action, told);
        }
        return;
    }
    let Some(template) = template_of(object["apiVersion"].as_str().unwrap_or_default(), &kind) else { return };
    let reference = reference(object);
    let tell = |finding: Finding| {
        let finding = placed(finding, &template.join("."));
        (path.to_owned(), Finding { object: Some(reference.clone()), ..finding })
    };
    let workload = object["metadata"]["name"].as_str().map(str::to_owned);
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let claims = names_of(&object["spec"]["volumeClaimTemplates"]);
    let Some(pod) = template.iter().try_fold(&mut *object, |value, step| value.get_mut(*step)) else {
        let message = format!("the {kind} has no pod template");
        let finding = Finding::new(Severity::Error, code::MISSING_FIELD, message);
        told.push(tell(finding.hint(format!("add `{}`", template.join(".")))));
        return;
    };
    let outcome = match action {
        Action::Inject(injector) => injector.inject(&Request {
            scope: Scope::File { namespace: &namespace },
            pod,
            workload: if template.is_empty() { None } else { workload.as_deref() },
            claims: &claims,
        }),
        Action::Remove => {
            match restore(pod) {
                Ok(original) => *pod = original,
                Err(why) => {
                    let message = format!("what the injection wrote down cannot be read: {why}");
                    told.push(tell(Finding::new(Severity::Error, code::INVALID_VALUE, message)));
                }
            }
            return;
        }
    };
    match outcome {
        Outcome::Injected(injected) => {
            *pod = injected.pod;
            told.extend(injected.warnings.into_iter().map(tell));
        }
        Outcome::Skipped { reason, .. } => {
            let message = format!("not injected: {reason}");
            told.push(tell(Finding::new(Severity::Info, code::NO_EFFECT, message)));
        }
        Outcome::Refused(mistakes) => told.extend(mistakes.into_iter().map(tell)),
    }
}

/// Where an object of a kind has the template of its pods.
fn template_of(api_version: &str, kind: &str) -> Option<&'static [&'static str]> {
    match (api_version, kind) {
        ("v1", "Pod") => Some(&[]),
        ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job")
        | ("v1", "ReplicationController") => Some(&["spec", "template"]),
        ("batch/v1", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

fn reference(object: &Value) -> ObjectRef {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ObjectRef::new(
        &text(&object["apiVersion"]),
        &text(&object["kind"]),
        &text(&object["metadata"]["namespace"]),
        &text(&object["metadata"]["name"]),
    )
}

/// Names of a StatefulSet's claims, which are volumes of its pods.
fn names_of(claims: &Value) -> Vec<String> {
    let names = claims.as_array().into_iter().flatten().filter_map(|claim| claim["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}
