//! Whether values are what the table of fields says, each at its place in the file.

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use weft_control_plane::inject::InjectionValues;
use weft_control_plane::source::document::{Entry, Node, Span, Value, join, json};
use weft_control_plane::source::fields::did_you_mean;
use weft_model::identity::TrustDomain;

use super::{InstallValues, Mistake};
use crate::install::objects;
use crate::install::schema::{self, Field, Kind, Shape};
use crate::output::yaml::to_yaml;

/// Checks one file or setting; `place` is its name.
pub(super) fn tree(root: &Node, place: &str, mistakes: &mut Vec<Mistake>) {
    Checker { place, mistakes }.group(root, &root.span, "");
}

struct Checker<'a> {
    place: &'a str,
    mistakes: &'a mut Vec<Mistake>,
}

impl Checker<'_> {
    fn wrong(&mut self, span: &Span, message: String, hint: String) {
        let place = match span.line {
            0 => self.place.to_owned(),
            line => format!("{}:{line}:{}", self.place, span.column),
        };
        self.mistakes.push(Mistake { place, message, hint });
    }

    /// A mapping whose keys are parts of the table's paths.
    fn group(&mut self, node: &Node, place: &Span, path: &str) {
        let Value::Mapping(entries) = &node.value else {
            let what = if path.is_empty() { "the values" } else { path };
            self.wrong(place, format!("`{what}` has to be a mapping"), below(path));
            return;
        };
        for Entry { key, key_span, value } in entries {
            let full = join(path, key);
            match schema::find(&full) {
                Some(field) => self.field(field, value, key_span),
                None if schema::keys_below(&full).is_empty() => {
                    let all = schema::FIELDS.iter().map(|field| field.path);
                    let siblings = schema::keys_below(path);
                    let hint = did_you_mean(key, siblings.into_iter())
                        .or_else(|| did_you_mean(&full, all))
                        .unwrap_or_else(|| below(path));
                    self.wrong(key_span, format!("there is no value `{full}`"), hint);
                }
                None => self.group(value, key_span, &full),
            }
        }
    }

    fn field(&mut self, field: &Field, node: &Node, place: &Span) {
        // Takes the default away; only maps' keys can go without.
        let at = if node.span.line == 0 { place } else { &node.span };
        if let Err((message, hint)) = value(field.kind, node) {
            self.wrong(at, format!("`{}` {message}", field.path), hint);
        }
    }
}

fn below(path: &str) -> String {
    let keys: Vec<String> = schema::keys_below(path).iter().map(|key| format!("`{key}`")).collect();
    let place = if path.is_empty() { "there is".to_owned() } else { format!("below `{path}` there is") };
    format!("{place} {}", keys.join(", "))
}

type Wrong = (String, String);

fn value(kind: Kind, node: &Node) -> Result<(), Wrong> {
    let is = |fine: bool, what: &str, hint: &str| {
        if fine { Ok(()) } else { Err((format!("has to be {what}"), hint.to_owned())) }
    };
    match (kind, &node.value) {
        (Kind::Text, Value::String(_)) | (Kind::Flag, Value::Bool(_)) | (Kind::Tree, Value::Mapping(_)) => {
            Ok(())
        }
        (Kind::Text, _) => is(false, "a text", "put it in quotes"),
        (Kind::Name, Value::String(name)) => {
            is(is_name(name), "a DNS label", "lower-case letters, digits and `-`, at most 40")
        }
        (Kind::Name, _) => is(false, "a name", "put it in quotes"),
        (Kind::Flag, _) => is(false, "true or false", ""),
        (Kind::Count(least, most), Value::Int(count)) => {
            is((least..=most).contains(count), &format!("between {least} and {most}"), "")
        }
        (Kind::Count(..), _) => is(false, "a whole number", ""),
        (Kind::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
        (Kind::Word(words), found) => {
            let hint = match found {
                Value::String(word) => did_you_mean(word, words.iter().copied()).unwrap_or_default(),
                _ => String::new(),
            };
            is(false, &format!("one of {}", words.join(", ")), &hint)
        }
        (Kind::Texts, Value::Sequence(items)) => {
            is(items.iter().all(|item| item.as_str().is_some()), "a list of texts", "put each in quotes")
        }
        (Kind::Texts, _) => is(false, "a list of texts", ""),
        (Kind::Labels, Value::Mapping(entries)) => {
            let text = |entry: &Entry| matches!(entry.value.value, Value::String(_) | Value::Null);
            is(entries.iter().all(text), "keys with texts", "put each text in quotes")
        }
        (Kind::Labels, _) => is(false, "keys with texts", ""),
        (Kind::Object(Shape::Resources), _) => {
            kubernetes::<ResourceRequirements>(node, "Kubernetes' resource requirements", true)
        }
        (Kind::Object(Shape::Tolerations), _) => {
            kubernetes::<Vec<Toleration>>(node, "a list of Kubernetes' tolerations", false)
        }
        (Kind::Tree, _) => is(false, "a mapping", ""),
    }
}

/// Whether a tree is of a type of Kubernetes: what it does not know, it drops.
fn kubernetes<T: DeserializeOwned + Serialize>(
    node: &Node,
    what: &str,
    is_resources: bool,
) -> Result<(), Wrong> {
    let mut given = without_nulls(json::to_json(node));
    if is_resources {
        super::texts(&mut given);
    }
    let read: T = serde_json::from_value(given.clone())
        .map_err(|error| (format!("has to be {what}: {error}"), String::new()))?;
    let kept = serde_json::to_value(read).unwrap_or_default();
    match lost(&given, &kept, "") {
        Some(path) => Err((format!("has `{path}`, which is not of {what}"), String::new())),
        None => Ok(()),
    }
}

fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        other => other,
    }
}

/// The path of the first thing that one tree has and the other has not.
fn lost(given: &Json, kept: &Json, path: &str) -> Option<String> {
    match (given, kept) {
        (Json::Object(given), Json::Object(kept)) => given.iter().find_map(|(key, value)| {
            let path = join(path, key);
            match kept.get(key) {
                Some(other) => lost(value, other, &path),
                None if value.as_object().is_some_and(serde_json::Map::is_empty) => None,
                None => Some(path),
            }
        }),
        (Json::Array(given), Json::Array(kept)) => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(index, (a, b))| lost(a, b, &format!("{path}[{index}]"))),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let ends = |at: Option<char>| at.is_none_or(|it| it != '-');
    name.len() <= 40
        && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
        && ends(name.chars().next())
        && ends(name.chars().last())
}

/// What single values cannot show: texts with a form of their own, and values that contradict each other.
pub(super) fn together(values: &InstallValues) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut wrong = |path: &str, message: String, hint: &str| {
        mistakes.push(Mistake { place: path.to_owned(), message, hint: hint.to_owned() });
    };
    if let Err(error) = values.mesh.trust_domain.parse::<TrustDomain>() {
        wrong("mesh.trustDomain", error.to_string(), "such as cluster.local");
    }
    if let Err(error) = humantime::parse_duration(&values.control_plane.certificate_lifetime) {
        wrong("controlPlane.certificateLifetime", error.to_string(), "such as 24h");
    }
    if values.mesh.name.is_empty() {
        wrong("mesh.name", "is empty".to_owned(), "such as default");
    }
    if values.revision == "default" {
        wrong("revision", "`default` is the name of the one without".to_owned(), "leave it empty");
    }
    let scaling = &values.control_plane.autoscaling;
    if scaling.min_replicas > scaling.max_replicas {
        let (least, most) = (scaling.min_replicas, scaling.max_replicas);
        wrong(
            "controlPlane.autoscaling.minReplicas",
            format!("{least} is more than maxReplicas, {most}"),
            "",
        );
    }
    for (path, directory) in [("cni.binDir", &values.cni.bin_dir), ("cni.confDir", &values.cni.conf_dir)] {
        if !directory.starts_with('/') {
            wrong(path, format!("`{directory}` is no absolute path"), "");
        }
    }
    let injection = to_yaml(&objects::injection_values(values));
    if let Err(findings) = InjectionValues::parse("injection.values", &injection) {
        for finding in findings {
            let path = if finding.field.is_empty() { String::new() } else { format!(".{}", finding.field) };
            mistakes.push(Mistake {
                place: format!("injection.values{path}"),
                message: finding.message,
                hint: finding.hint,
            });
        }
    }
    mistakes
}
