//! The whole way of a pod.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};

use super::annotations::{self, PodSettings};
use super::check;
use super::configuration::{InjectionConfiguration, SIDECAR_TEMPLATE};
use super::decide::{Scope, SkipReason, decide};
use super::merge::merge;
use super::pod::{CONTAINER_LISTS, annotation, containers, label, list_mut, set, text};
use super::probes;
use super::status;
use super::template::{Additions, Facts, prometheus_annotations};
use super::values::InjectionValues;
use super::{INIT_CONTAINER, PROXY_CONTAINER, PROXY_UID, VALIDATION_CONTAINER};
use crate::source::diagnostic::code;
use crate::source::{Finding, Severity};

/// How long a pod may take to end that does not say it, in seconds (Kubernetes API reference, PodSpec).
const GRACE: u64 = 30;

/// A pod that is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// On whose behalf.
    pub scope: Scope<'a>,
    /// The pod, or the template of pods of a Deployment and the like: `metadata` and `spec` are read.
    pub pod: &'a Value,
    /// Name of the workload where the pod does not tell it: the Deployment's, say.
    pub workload: Option<&'a str>,
    /// Names of volumes that a StatefulSet's claims add to its pods.
    pub claims: &'a [String],
}

/// What becomes of a pod.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected(Box<Injected>),
    /// It gets none.
    Skipped {
        /// Why.
        reason: SkipReason,
        /// The pod with an annotation that tells why, where somebody may have expected a sidecar.
        annotated: Option<Box<Value>>,
    },
    /// It cannot be injected as it is: all that is wrong, with paths within the pod.
    Refused(Vec<Finding>),
}

/// A pod with its sidecar.
#[derive(Clone, PartialEq, Debug)]
pub struct Injected {
    /// The pod.
    pub pod: Value,
    /// What will not work as it reads.
    pub warnings: Vec<Finding>,
}

/// Injects pods by the configuration of the moment.
#[derive(Debug)]
pub struct Injector {
    current: ArcSwap<InjectionConfiguration>,
}

impl Injector {
    /// By these values.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(values: InjectionValues) -> Result<Self, Vec<Finding>> {
        Ok(Self { current: ArcSwap::from_pointee(InjectionConfiguration::new(values)?) })
    }

    /// By the values of this text (YAML) from now on.
    ///
    /// # Errors
    /// What is wrong with it; the former values stay in use.
    pub fn update(&self, text: &str) -> Result<(), Vec<Finding>> {
        let values = InjectionValues::parse("weft-injection", text)?;
        self.current.store(Arc::new(InjectionConfiguration::new(values)?));
        Ok(())
    }

    /// What is in use.
    #[must_use]
    pub fn configuration(&self) -> Arc<InjectionConfiguration> {
        self.current.load_full()
    }

    /// What becomes of a pod.
    #[must_use]
    pub fn inject(&self, request: &Request<'_>) -> Outcome {
        inject(&self.current.load(), request)
    }
}

/// What becomes of a pod.
pub(super) fn inject(configuration: &InjectionConfiguration, request: &Request<'_>) -> Outcome {
    let values = configuration.values();
    match decide(request.scope, request.pod, values) {
        Err(findings) => return Outcome::Refused(findings),
        Ok(Some(reason)) => return skipped(request, reason, &values.revision),
        Ok(None) => {}
    }
    let original = match status::restore(request.pod) {
        Ok(original) => original,
        Err(why) => {
            let message = format!("what an earlier injection wrote down cannot be read: {why}");
            let hint = "take the sidecar and this annotation out of the pod by hand";
            let finding = annotations::finding(
                Severity::Error,
                code::INVALID_VALUE,
                status::STATUS_ANNOTATION,
                message,
                hint,
            );
            return Outcome::Refused(vec![finding]);
        }
    };
    let (settings, warnings) = match annotations::read(&original, values) {
        Ok(read) => read,
        Err(findings) => return Outcome::Refused(findings),
    };
    let mut findings = user_conflicts(&original, &settings);
    let mut pod = original.clone();
    let own = take_own(&mut pod);
    if settings.templates.iter().any(|name| name == SIDECAR_TEMPLATE) {
        add_sidecar(&mut pod, &original, &settings, values, request);
    }
    for patch in settings.templates.iter().filter_map(|name| values.templates.get(name)) {
        merge(&mut pod, patch, "");
    }
    own.into_iter().for_each(|container| customise(&mut pod, container));
    let mistakes = check::added_mistakes(&original, &pod, request.claims);
    findings.extend(mistakes.into_iter().map(|(path, message)| {
        let message = format!("with its sidecar the pod would be invalid: {path}: {message}");
        Finding { field: "spec".to_owned(), ..Finding::new(Severity::Error, code::INVALID_VALUE, message) }
    }));
    if !findings.is_empty() {
        findings.extend(warnings);
        return Outcome::Refused(findings);
    }
    status::record(&mut pod, &original, &values.revision, configuration.hash());
    Outcome::Injected(Box::new(Injected { pod, warnings }))
}

fn skipped(request: &Request<'_>, reason: SkipReason, revision: &str) -> Outcome {
    let injected = annotation(request.pod, status::STATUS_ANNOTATION).is_some();
    // A file that nothing is done to stays as it is.
    let tell = reason.is_worth_telling() && !injected && matches!(request.scope, Scope::Namespace { .. });
    let annotated = tell.then(|| {
        let mut pod = request.pod.clone();
        status::record_skip(&mut pod, &reason, revision);
        Box::new(pod)
    });
    Outcome::Skipped { reason, annotated }
}

/// What of the user's pod would undo the mesh.
fn user_conflicts(pod: &Value, settings: &PodSettings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut taken = |path: String| {
        let message =
            format!("user {PROXY_UID} is the sidecar's: traffic of this user passes the sidecar by");
        let hint = "choose another runAsUser";
        findings.push(Finding {
            field: path,
            ..Finding::new(Severity::Error, code::CONFLICT, message).hint(hint)
        });
    };
    let runs_as = |value: &Value| value["securityContext"]["runAsUser"].as_i64() == Some(PROXY_UID);
    if runs_as(&pod["spec"]) {
        taken("spec.securityContext.runAsUser".to_owned());
    }
    for (list, index, container) in containers(pod) {
        if own_name(text(container, "name")).is_none() && runs_as(container) {
            taken(format!("spec.{list}[{index}].securityContext.runAsUser"));
        }
    }
    let asked_to_hold = ["weft.mesh/proxyConfig", "proxy.istio.io/config"].into_iter().find(|key| {
        annotation(pod, key).is_some_and(|text| text.contains("holdApplicationUntilProxyStarts"))
    });
    if let (Some(key), true, false) = (asked_to_hold, settings.hold, settings.native) {
        let message = "holdApplicationUntilProxyStarts needs a native sidecar (Kubernetes 1.29 or newer)";
        findings.push(annotations::finding(Severity::Error, code::UNSUPPORTED, key, message, "remove it"));
    }
    findings
}

/// The name of our container that a user's container is written for; none of an ordinary one.
fn own_name(name: &str) -> Option<&'static str> {
    match name {
        PROXY_CONTAINER | "istio-proxy" => Some(PROXY_CONTAINER),
        INIT_CONTAINER | "istio-init" => Some(INIT_CONTAINER),
        VALIDATION_CONTAINER | "istio-validation" => Some(VALIDATION_CONTAINER),
        _ => None,
    }
}

/// Takes the containers out with which the user customises ours.
fn take_own(pod: &mut Value) -> Vec<Value> {
    let mut own = Vec::new();
    for list in CONTAINER_LISTS {
        let Some(items) = list_mut(pod, list) else { continue };
        items.retain_mut(|container| {
            let Some(name) = own_name(text(container, "name")) else { return true };
            let mut taken = container.take();
            taken["name"] = json!(name);
            // Istio's word for "as injected", since a container must have an image to be applied.
            if text(&taken, "image") == "auto"
                && let Some(map) = taken.as_object_mut()
            {
                map.shift_remove("image");
            }
            own.push(taken);
            false
        });
    }
    own
}

/// Merges a user's container over ours of its name; without one (another template) it is an ordinary container.
fn customise(pod: &mut Value, container: Value) {
    let name = text(&container, "name").to_owned();
    for list in CONTAINER_LISTS {
        let ours = list_mut(pod, list).into_iter().flatten().find(|other| text(other, "name") == name);
        if let Some(ours) = ours {
            merge(ours, &container, "");
            return;
        }
    }
    match list_mut(pod, "containers") {
        Some(items) => items.push(container),
        None => set(pod, &["spec"], "containers", json!([container])),
    }
}

/// The built-in template.
fn add_sidecar(
    pod: &mut Value,
    original: &Value,
    settings: &PodSettings,
    values: &InjectionValues,
    request: &Request<'_>,
) {
    let rewritten = if settings.rewrite_probes { probes::rewrite(pod) } else { Map::new() };
    let workload = workload_name(original, request.workload);
    let mut ports: Vec<u64> = containers(pod)
        .filter(|(list, _, container)| {
            *list == "containers" || super::pod::is_native_sidecar(list, container)
        })
        .flat_map(|(_, _, container)| container["ports"].as_array().into_iter().flatten())
        .filter(|port| matches!(port["protocol"].as_str(), None | Some("TCP")))
        .filter_map(|port| port["containerPort"].as_u64())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    // Kubernetes' default is Always (API reference, PodSpec).
    let serves = matches!(pod["spec"]["restartPolicy"].as_str(), None | Some("Always"));
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(GRACE);
    let facts =
        Facts { settings, values, workload: &workload, ports: &ports, serves, grace, probes: &rewritten };
    let Additions { init_containers, containers, volumes, pull_secrets } = facts.additions();
    prepend(pod, "initContainers", init_containers);
    prepend(pod, "containers", containers);
    append(pod, "volumes", volumes);
    append(pod, "imagePullSecrets", pull_secrets);
    let canonical_name =
        canonical(original, &["app.kubernetes.io/name", "app"]).unwrap_or(&workload).to_owned();
    let revision =
        canonical(original, &["app.kubernetes.io/version", "version"]).unwrap_or("latest").to_owned();
    for (key, value) in [
        ("security.istio.io/tlsMode", "istio"),
        ("service.istio.io/canonical-name", &label_text(&canonical_name)),
        ("service.istio.io/canonical-revision", &revision),
    ] {
        if label(original, key).is_none() {
            set(pod, &["metadata", "labels"], key, json!(value));
        }
    }
    // Whose application is scraped already keeps its annotations: they can name one port only.
    let says_nothing = prometheus_annotations().iter().all(|(key, _)| annotation(original, key).is_none());
    if settings.prometheus && says_nothing {
        for (key, value) in prometheus_annotations() {
            set(pod, &["metadata", "annotations"], key, json!(value));
        }
    }
}

fn canonical<'a>(pod: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| label(pod, key)).filter(|value| !value.is_empty())
}

/// A label's value has at most 63 characters; names of owners may be longer.
fn label_text(name: &str) -> String {
    let short: String = name.chars().take(63).collect();
    short.trim_end_matches(|last: char| !last.is_ascii_alphanumeric()).to_owned()
}

/// The controller's name: a Deployment's rather than its ReplicaSet's, a CronJob's rather than its Job's.
fn workload_name(pod: &Value, given: Option<&str>) -> String {
    let metadata = &pod["metadata"];
    let owner = metadata["ownerReferences"]
        .as_array()
        .and_then(|owners| owners.iter().find(|owner| owner["controller"] == Value::Bool(true)));
    let name = match (given, owner) {
        (Some(given), _) => given,
        (None, Some(owner)) => {
            let name = text(owner, "name");
            let hash = label(pod, "pod-template-hash").unwrap_or_default();
            match text(owner, "kind") {
                "ReplicaSet" => {
                    name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')).unwrap_or(name)
                }
                "Job" => without_schedule(name),
                _ => name,
            }
        }
        (None, None) if text(metadata, "name").is_empty() => {
            text(metadata, "generateName").trim_end_matches('-')
        }
        (None, None) => text(metadata, "name"),
    };
    name.to_owned()
}

/// A CronJob names its Jobs by the minute for which they are.
fn without_schedule(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((cron, minute)) if minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit()) => cron,
        _ => name,
    }
}

/// Puts items before those of a list of the pod.
fn prepend(pod: &mut Value, list: &str, mut items: Vec<Value>) {
    if items.is_empty() {
        return;
    }
    if let Some(own) = list_mut(pod, list) {
        items.append(own);
    }
    set(pod, &["spec"], list, Value::Array(items));
}

/// Puts items behind those of a list of the pod; those that are there already by name stay as they are.
fn append(pod: &mut Value, list: &str, items: Vec<Value>) {
    let own = list_mut(pod, list).map(std::mem::take).unwrap_or_default();
    let new: Vec<Value> = items.into_iter().filter(|item| !own.contains(item)).collect();
    if own.is_empty() && new.is_empty() {
        return;
    }
    set(pod, &["spec"], list, own.into_iter().chain(new).collect());
}

/// The place of a pod's finding within the object that holds its template.
#[must_use]
pub fn placed(finding: Finding, template: &str) -> Finding {
    if template.is_empty() {
        return finding;
    }
    let field = match finding.field.as_str() {
        "" => template.to_owned(),
        field if field.starts_with('[') => format!("{template}{field}"),
        field => format!("{template}.{field}"),
    };
    Finding { field, ..finding }
}
