//! What a user chooses of an installation: `-f FILE` and `--set PATH=VALUE` laid over the defaults of [`schema`], each
//! checked where it stands, so that every mistake is told at once with its place.

mod check;
mod set;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_control_plane::source::document::{Node, json, yaml};

use super::schema;

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;

/// The values, complete and checked. [`schema::FIELDS`] says what each means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct InstallValues {
    pub revision: String,
    pub namespace: NamespaceValues,
    pub image: ImageValues,
    pub mesh: MeshValues,
    pub control_plane: ControlPlaneValues,
    pub injection: InjectionChoices,
    pub validation: ValidationValues,
    pub crds: CrdValues,
    pub cni: CniValues,
}

/// `namespace`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct NamespaceValues {
    pub create: bool,
}

/// `image`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct ImageValues {
    pub registry: String,
    pub tag: String,
    pub pull_policy: String,
    pub pull_secrets: Vec<String>,
}

/// `mesh`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct MeshValues {
    pub name: String,
    pub trust_domain: String,
    pub cluster_domain: String,
    pub discovery_selectors: Vec<String>,
}

/// `controlPlane`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct ControlPlaneValues {
    pub replicas: i32,
    pub resources: ResourceRequirements,
    pub log: String,
    pub certificate_lifetime: String,
    pub priority_class_name: String,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub pod_labels: BTreeMap<String, String>,
    pub pod_annotations: BTreeMap<String, String>,
    pub extra_args: Vec<String>,
    pub autoscaling: AutoscalingValues,
    pub pod_disruption_budget: BudgetValues,
}

/// `controlPlane.autoscaling`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct AutoscalingValues {
    pub enabled: bool,
    #[serde(rename = "minReplicas")]
    pub min_replicas: i32,
    #[serde(rename = "maxReplicas")]
    pub max_replicas: i32,
    #[serde(rename = "targetCPUUtilization")]
    pub target_cpu_utilization: i32,
}

/// `controlPlane.podDisruptionBudget`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct BudgetValues {
    pub enabled: bool,
}

/// `injection`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct InjectionChoices {
    pub enabled: bool,
    pub istio_labels: bool,
    pub failure_policy: String,
    pub values: Value,
}

/// `validation`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct ValidationValues {
    pub enabled: bool,
    pub failure_policy: String,
}

/// `crds`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct CrdValues {
    pub install: bool,
}

/// `cni`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the table of fields describes each")]
pub struct CniValues {
    pub enabled: bool,
    pub bin_dir: String,
    pub conf_dir: String,
    pub repair: String,
    pub resources: ResourceRequirements,
}

/// One thing wrong with the values: where it stands, what is wrong, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// `values.yaml:3:5`, or `--set image.tga=1`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

impl InstallValues {
    /// The defaults with files and settings laid over them, in this order; later ones win, maps are merged, lists are
    /// replaced, and `null` takes a key away, all as with Helm. A file is its name and text.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(files: &[(String, String)], settings: &[String]) -> Result<Self, Vec<Mistake>> {
        let (mut tree, mut mistakes) = (schema::defaults(), Vec::new());
        for (name, text) in files {
            match read_file(name, text) {
                Ok(node) => {
                    check::tree(&node, name, &mut mistakes);
                    overlay(&mut tree, &json::to_json(&node));
                }
                Err(mut errors) => mistakes.append(&mut errors),
            }
        }
        for setting in settings {
            match set::parse(setting) {
                Ok((path, value)) => {
                    let mut layer = Value::Object(serde_json::Map::new());
                    set::put(&mut layer, &path, value);
                    check::tree(&json::from_json(&layer), &format!("--set {setting}"), &mut mistakes);
                    overlay(&mut tree, &layer);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        quantities_as_text(&mut tree);
        let broken = |error: serde_json::Error| {
            vec![Mistake { place: "values".to_owned(), message: error.to_string(), hint: String::new() }]
        };
        let values: Self = serde_json::from_value(tree).map_err(broken)?;
        let mistakes = check::together(&values);
        if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
    }

    /// The values that are not the defaults, as a tree.
    #[must_use]
    pub fn chosen(&self) -> Value {
        let all = serde_json::to_value(self).unwrap_or_default();
        let mut chosen = Value::Object(serde_json::Map::new());
        for field in schema::FIELDS {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            if let Some(value) = all.pointer(&pointer)
                && *value != schema::default_of(field)
            {
                schema::put(&mut chosen, field.path, value.clone());
            }
        }
        chosen
    }
}

/// Kubernetes takes amounts as numbers too (`cpu: 2`); its types know them as texts only.
fn quantities_as_text(tree: &mut Value) {
    for field in
        schema::FIELDS.iter().filter(|field| field.kind == schema::Kind::Object(schema::Shape::Resources))
    {
        if let Some(resources) = tree.pointer_mut(&format!("/{}", field.path.replace('.', "/"))) {
            texts(resources);
        }
    }
}

/// A tree with texts for numbers.
fn texts(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Object(map) => map.values_mut().for_each(texts),
        _ => {}
    }
}

/// A file of values as a tree. An empty one says nothing.
fn read_file(name: &str, text: &str) -> Result<Node, Vec<Mistake>> {
    let (node, errors) = yaml::parse(text);
    if errors.is_empty() {
        let empty = || json::from_json(&Value::Object(serde_json::Map::new()));
        return Ok(node.filter(|node| json::to_json(node) != Value::Null).unwrap_or_else(empty));
    }
    let mistake = |error: yaml::YamlError| Mistake {
        place: format!("{name}:{}:{}", error.span.line.max(1), error.span.column.max(1)),
        message: error.message,
        hint: error.hint,
    };
    Err(errors.into_iter().map(mistake).collect())
}

/// Lays one tree over another.
pub(in crate::install) fn overlay(base: &mut Value, layer: &Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                if value.is_null() {
                    base.remove(key);
                } else {
                    overlay(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, layer) => *base = layer.clone(),
    }
}
