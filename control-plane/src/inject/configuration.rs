//! Values that have been tried: every template makes a valid pod.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check;
use super::decide::Scope;
use super::injector::{Outcome, Request, inject};
use super::merge::check_directives;
use super::values::InjectionValues;
use crate::source::diagnostic::code;
use crate::source::{Finding, Severity};

/// Name of the built-in template.
pub(super) const SIDECAR_TEMPLATE: &str = "sidecar";

/// Settings of injection that can be used.
#[derive(Clone, PartialEq, Debug)]
pub struct InjectionConfiguration {
    values: InjectionValues,
    /// Tells what a pod was injected with.
    hash: String,
}

impl InjectionConfiguration {
    /// Tries the templates on pods of every shape.
    ///
    /// # Errors
    /// Every value that cannot be used, and every template that makes an invalid pod.
    pub fn new(values: InjectionValues) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let wrong = |path: &str, message: String, hint: &str| Finding {
            field: path.to_owned(),
            ..Finding::new(Severity::Error, code::INVALID_VALUE, message).hint(hint)
        };
        values.check(&mut |path, message, hint| findings.push(wrong(path, message, hint)));
        for (name, template) in &values.templates {
            let path = crate::source::document::join("templates", name);
            let Some(parts) = template.as_object() else {
                findings.push(wrong(
                    &path,
                    "a template is a patch of a pod".to_owned(),
                    "begin it with `spec:`",
                ));
                continue;
            };
            for part in parts.keys().filter(|part| !["metadata", "spec"].contains(&part.as_str())) {
                let message = format!("a pod's template has no `{part}`");
                findings.push(wrong(
                    &format!("{path}.{part}"),
                    message,
                    "`metadata` and `spec` can be patched",
                ));
            }
            check_directives(template, &path, &mut |path, message| {
                findings.push(wrong(
                    path,
                    message,
                    "$patch: delete, replace or merge; $retainKeys and $setElementOrder lists",
                ));
            });
        }
        // The hash covers this version too: another may add something else for the same values.
        let written = serde_json::to_string(&values).unwrap_or_default();
        let digest = Sha256::digest(format!("{} {written}", env!("CARGO_PKG_VERSION")));
        let hash = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let configuration = Self { values, hash };
        if findings.is_empty() {
            findings = configuration.try_templates();
        }
        if findings.is_empty() { Ok(configuration) } else { Err(findings) }
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &InjectionValues {
        &self.values
    }

    /// Tells configurations apart: the same values with the same version have the same.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What the built-in template and each of the user's make of sample pods.
    fn try_templates(&self) -> Vec<Finding> {
        let defaults = self.values.default_templates.join(",");
        let alone = std::iter::once((String::new(), defaults.clone()));
        let each = self.values.templates.keys().map(|name| {
            let listed = self.values.default_templates.contains(name);
            (name.clone(), if listed { defaults.clone() } else { format!("{SIDECAR_TEMPLATE},{name}") })
        });
        let mut findings: Vec<Finding> = Vec::new();
        for (name, templates) in each.chain(alone) {
            let path = if name.is_empty() {
                "defaultTemplates".to_owned()
            } else {
                crate::source::document::join("templates", &name)
            };
            for message in samples(&templates).iter().flat_map(|pod| self.mistakes_of(pod)) {
                let known = findings.iter().any(|finding| finding.message == message);
                if !known {
                    findings.push(Finding {
                        field: path.clone(),
                        ..Finding::new(Severity::Error, code::INVALID_VALUE, message)
                            .hint("the API server would refuse such a pod; the former templates stay in use")
                    });
                }
            }
        }
        findings
    }

    fn mistakes_of(&self, pod: &Value) -> Vec<String> {
        let request =
            Request { scope: Scope::File { namespace: "default" }, pod, workload: None, claims: &[] };
        match inject(self, &request) {
            Outcome::Injected(injected) => check::unknown_fields(&injected.pod)
                .into_iter()
                .map(|field| format!("pods have no field {field}"))
                .collect(),
            Outcome::Refused(findings) => findings.into_iter().map(|finding| finding.message).collect(),
            Outcome::Skipped { .. } => Vec::new(),
        }
    }
}

/// Pods of different shapes that are to be injected.
fn samples(templates: &str) -> [Value; 2] {
    let metadata = json!({"name": "sample", "annotations": {"inject.istio.io/templates": templates}});
    let container = json!({
        "name": "app",
        "image": "app",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
    });
    [
        json!({"metadata": metadata, "spec": {"containers": [container]}}),
        json!({"metadata": metadata, "spec": {
            "initContainers": [{"name": "migrate", "image": "app"}],
            "containers": [container, {"name": "log", "image": "log"}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }}),
    ]
}
