//! What injection is set to in a mesh: the key `values` of the ConfigMap `weft-injection`, or `weft inject --values`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::proxy_config;
use super::quantity;
use crate::source::Finding;
use crate::source::Severity;
use crate::source::checks;
use crate::source::diagnostic::{Report, code};
use crate::source::document::{Node, Span, json::to_json, yaml};
use crate::source::fields::{Field, did_you_mean};

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;

/// Settings of injection. Everything has a default, with which a mesh that `weft install` made works.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InjectionValues {
    /// Where images come from.
    pub image: Image,
    /// Name of the mesh, in telemetry's `cluster` labels.
    pub mesh: String,
    /// Root of all identities.
    pub trust_domain: String,
    /// Domain of the cluster's service names.
    pub cluster_domain: String,
    /// Which control plane injects; `default` unless several run side by side.
    pub revision: String,
    /// `HOST:PORT` at which sidecars reach the control plane.
    pub discovery_address: String,
    /// Namespace of the control plane; never injected.
    pub system_namespace: String,
    /// Pods of namespaces that say nothing are injected too. The webhook's selectors must agree.
    pub enable_namespaces_by_default: bool,
    /// Kubelet asks the sidecar instead of the application, so that its checks work under STRICT mutual TLS.
    pub rewrite_app_probes: bool,
    /// Pods that say nothing of Prometheus are annotated so that it scrapes the sidecar.
    pub prometheus: bool,
    /// The sidecar.
    pub proxy: ProxyValues,
    /// How traffic is brought to the sidecar.
    pub interception: InterceptionValues,
    /// Patches of pods by name, merged strategically as `kubectl patch` does; `sidecar` is the built-in one's name.
    pub templates: BTreeMap<String, Value>,
    /// The templates of pods that name none.
    pub default_templates: Vec<String>,
}

/// Where images come from: `REGISTRY/NAME:TAG`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// Registry, with a path if there is one.
    pub registry: String,
    /// Name of the sidecar's image.
    pub proxy: String,
    /// Tag, or `sha256:…` digest.
    pub tag: String,
    /// When nodes fetch it.
    pub pull_policy: PullPolicy,
    /// Secrets for fetching; they must exist in the pods' namespaces.
    pub pull_secrets: Vec<String>,
}

/// When a node fetches an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// The node has it.
    Never,
}

/// The sidecar.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyValues {
    /// As an init container that goes on (Kubernetes 1.29 and newer); false: as one of the containers.
    pub native: bool,
    /// What the scheduler reserves and the node allows.
    pub resources: Resources,
    /// Worker threads of a sidecar without a CPU limit.
    pub concurrency: u32,
    /// What is logged.
    pub log_level: String,
    /// The application starts when the sidecar can serve it; for native sidecars.
    pub hold_application_until_proxy_starts: bool,
    /// How long what is under way may take when the pod ends, such as `5s`.
    pub termination_drain_duration: String,
    /// Share of requests without a trace of their own that begin one, in per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_sampling: Option<f64>,
    /// Environment of the sidecar.
    pub env: BTreeMap<String, String>,
}

/// How traffic is brought to the sidecar. Lists are as in `traffic.sidecar.istio.io/*` annotations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InterceptionValues {
    /// The node's CNI plugin sets the rules: pods need no NET_ADMIN, and get a container that checks them instead.
    pub cni: bool,
    /// Names are asked of the sidecar.
    pub dns: bool,
    /// Incoming ports that go through the sidecar; `*`: all.
    pub include_inbound_ports: String,
    /// Incoming ports that do not.
    pub exclude_inbound_ports: String,
    /// Destination ports that go through the sidecar wherever they lead.
    pub include_outbound_ports: String,
    /// Destination ports that do not.
    pub exclude_outbound_ports: String,
    /// Destinations that go through the sidecar, `IP/BITS`; `*`: all.
    pub include_outbound_ip_ranges: String,
    /// Destinations that do not.
    pub exclude_outbound_ip_ranges: String,
    /// Interfaces that are left alone.
    pub exclude_interfaces: String,
    /// What the container that sets the rules gets.
    pub resources: Resources,
}

/// Of a container (<https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Reserved.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// Allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// An amount as Kubernetes writes it, such as `100m` or `1Gi`; numbers are taken too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("an amount is a number or text such as 100m or 1Gi")),
        }
    }
}

fn amounts(cpu: &str, memory: &str) -> BTreeMap<String, Quantity> {
    [("cpu", cpu), ("memory", memory)]
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())))
        .into()
}

impl Default for InjectionValues {
    fn default() -> Self {
        Self {
            image: Image::default(),
            mesh: "default".to_owned(),
            trust_domain: weft_model::identity::TrustDomain::DEFAULT.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            revision: "default".to_owned(),
            discovery_address: "weft-control-plane.weft-system.svc:15012".to_owned(),
            system_namespace: "weft-system".to_owned(),
            enable_namespaces_by_default: false,
            rewrite_app_probes: true,
            prometheus: true,
            proxy: ProxyValues::default(),
            interception: InterceptionValues::default(),
            templates: BTreeMap::new(),
            default_templates: vec![super::configuration::SIDECAR_TEMPLATE.to_owned()],
        }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self {
            registry: "localhost".to_owned(),
            proxy: "weft-proxy".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            pull_policy: PullPolicy::IfNotPresent,
            pull_secrets: Vec::new(),
        }
    }
}

impl Image {
    /// `REGISTRY/NAME:TAG`, or `REGISTRY/NAME@DIGEST`.
    #[must_use]
    pub fn reference(&self) -> String {
        let separator = if self.tag.starts_with("sha256:") { '@' } else { ':' };
        format!("{}/{}{separator}{}", self.registry.trim_end_matches('/'), self.proxy, self.tag)
    }
}

impl Default for ProxyValues {
    fn default() -> Self {
        Self {
            native: true,
            resources: Resources { requests: amounts("100m", "64Mi"), limits: amounts("2", "1Gi") },
            concurrency: 2,
            log_level: "info".to_owned(),
            hold_application_until_proxy_starts: true,
            termination_drain_duration: "5s".to_owned(),
            trace_sampling: None,
            env: BTreeMap::new(),
        }
    }
}

impl Default for InterceptionValues {
    fn default() -> Self {
        Self {
            cni: false,
            dns: true,
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            include_outbound_ip_ranges: "*".to_owned(),
            exclude_outbound_ip_ranges: String::new(),
            exclude_interfaces: String::new(),
            resources: Resources { requests: amounts("10m", "16Mi"), limits: amounts("1", "64Mi") },
        }
    }
}

impl InjectionValues {
    /// Reads YAML; `file` is its name in findings.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let report = Report::new(file, text);
        let (root, errors) = yaml::parse(text);
        for error in errors {
            report.add(
                Finding::new(Severity::Error, error.code, error.message).hint(error.hint),
                "",
                &error.span,
            );
        }
        let root = match root {
            Some(root) if root.value != crate::source::document::Value::Null => root,
            _ if report.errors() == 0 => return Ok(Self::default()),
            _ => return Err(report.into_findings()),
        };
        shape(&Field::root(&root, &report), &reference());
        if report.errors() == 0 {
            match serde_json::from_value::<Self>(to_json(&root)) {
                Ok(values) => {
                    values.check(&mut |path, message, hint| add(&report, &root, path, message, hint));
                    if report.errors() == 0 {
                        return Ok(values);
                    }
                }
                Err(error) => add(&report, &root, "", format!("these are no values: {error}"), ""),
            }
        }
        Err(report.into_findings())
    }

    /// For another revision: its name, and its control plane's unless an address was chosen.
    #[must_use]
    pub fn with_revision(mut self, revision: &str) -> Self {
        if revision != "default" && self.discovery_address == Self::default().discovery_address {
            self.discovery_address =
                format!("weft-control-plane-{revision}.{}.svc:15012", self.system_namespace);
        }
        revision.clone_into(&mut self.revision);
        self
    }

    /// Tells `wrong` of every value that is of the right type and still not usable: path, message, hint.
    pub(super) fn check(&self, wrong: &mut dyn FnMut(&str, String, &str)) {
        if let Err(problem) = checks::dns_subdomain(&self.cluster_domain) {
            wrong("clusterDomain", problem.message, &problem.hint);
        }
        if let Err(problem) = checks::dns_label(&self.revision) {
            wrong("revision", problem.message, &problem.hint);
        }
        if !self
            .discovery_address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
        {
            let message = format!("`{}` is no HOST:PORT", self.discovery_address);
            wrong("discoveryAddress", message, "such as weft-control-plane.weft-system.svc:15012");
        }
        for (path, text) in [
            ("image.registry", &self.image.registry),
            ("image.proxy", &self.image.proxy),
            ("image.tag", &self.image.tag),
        ] {
            if text.is_empty() || text.contains(char::is_whitespace) {
                wrong(path, format!("`{text}` is no part of an image's name"), "");
            }
        }
        for (path, resources) in [
            ("proxy.resources", &self.proxy.resources),
            ("interception.resources", &self.interception.resources),
        ] {
            resources.check(path, wrong);
        }
        if let Err(problem) = proxy_config::duration(&self.proxy.termination_drain_duration) {
            wrong("proxy.terminationDrainDuration", problem.message, &problem.hint);
        }
        if self.proxy.trace_sampling.is_some_and(|share| !(0.0..=100.0).contains(&share)) {
            wrong("proxy.traceSampling", "per cent are from 0 to 100".to_owned(), "");
        }
        if self.proxy.concurrency > 1024 {
            wrong("proxy.concurrency", "more than 1024 worker threads".to_owned(), "0: one for each core");
        }
        self.interception.check(wrong);
        self.check_templates(wrong);
    }

    fn check_templates(&self, wrong: &mut dyn FnMut(&str, String, &str)) {
        for (index, name) in self.default_templates.iter().enumerate() {
            if name != super::configuration::SIDECAR_TEMPLATE && !self.templates.contains_key(name) {
                let hint = did_you_mean(name, self.templates.keys().map(String::as_str)).unwrap_or_default();
                wrong(&format!("defaultTemplates[{index}]"), format!("there is no template `{name}`"), &hint);
            }
        }
        if self.templates.contains_key(super::configuration::SIDECAR_TEMPLATE) {
            let hint =
                "give it another name and add that to defaultTemplates: it is merged over the built-in one";
            wrong("templates.sidecar", "`sidecar` is the name of the built-in template".to_owned(), hint);
        }
    }
}

impl InterceptionValues {
    fn check(&self, wrong: &mut dyn FnMut(&str, String, &str)) {
        use super::annotations::lists;
        type Check = fn(&str) -> Result<String, crate::source::fields::Problem>;
        let all: [(&str, &String, Check); 7] = [
            ("includeInboundPorts", &self.include_inbound_ports, lists::ports_or_all),
            ("excludeInboundPorts", &self.exclude_inbound_ports, lists::ports),
            ("includeOutboundPorts", &self.include_outbound_ports, lists::ports),
            ("excludeOutboundPorts", &self.exclude_outbound_ports, lists::ports),
            ("includeOutboundIpRanges", &self.include_outbound_ip_ranges, lists::ranges_or_all),
            ("excludeOutboundIpRanges", &self.exclude_outbound_ip_ranges, lists::ranges),
            ("excludeInterfaces", &self.exclude_interfaces, lists::interfaces),
        ];
        for (name, text, check) in all {
            if let Err(problem) = check(text) {
                wrong(&format!("interception.{name}"), problem.message, &problem.hint);
            }
        }
    }
}

impl Resources {
    /// As the field `resources` of a container.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let part = |amounts: &BTreeMap<String, Quantity>| {
            Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.0))).collect())
        };
        let mut all = Map::new();
        for (name, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            if !amounts.is_empty() {
                all.insert(name.to_owned(), part(amounts));
            }
        }
        Value::Object(all)
    }

    fn check(&self, path: &str, wrong: &mut dyn FnMut(&str, String, &str)) {
        for (part, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            for (name, amount) in amounts {
                if let Err(problem) = quantity::parse(&amount.0) {
                    let path = crate::source::document::join(&format!("{path}.{part}"), name);
                    wrong(&path, problem.message, &problem.hint);
                }
            }
        }
        for (name, requested) in &self.requests {
            let amounts =
                self.limits.get(name).map(|limit| (quantity::parse(&requested.0), quantity::parse(&limit.0)));
            if let Some((Ok(requested), Ok(limit))) = amounts
                && requested > limit
            {
                wrong(
                    &format!("{path}.requests.{name}"),
                    format!("more {name} is reserved than allowed"),
                    "raise the limit",
                );
            }
        }
    }
}

fn add(report: &Report<'_>, root: &Node, path: &str, message: impl Into<String>, hint: &str) {
    let span: Span = root.locate(path);
    report.add(Finding::new(Severity::Error, code::INVALID_VALUE, message).hint(hint), path, &span);
}

/// Values with everything set, so that their JSON shows every field's type. Mappings of the user's own keys are
/// empty in it, and lists have one item.
fn reference() -> Value {
    let one = || vec![String::new()];
    let none = Resources::default;
    let values = InjectionValues {
        image: Image { pull_secrets: one(), ..Image::default() },
        proxy: ProxyValues { trace_sampling: Some(0.0), resources: none(), ..ProxyValues::default() },
        interception: InterceptionValues { resources: none(), ..InterceptionValues::default() },
        default_templates: one(),
        ..InjectionValues::default()
    };
    let mut reference = serde_json::to_value(values).unwrap_or_default();
    for part in ["proxy", "interception"] {
        reference[part]["resources"] = json!({"requests": {}, "limits": {}});
    }
    reference
}

/// Refuses what `reference` does not have or has with another type: everything at once, where serde stops at the
/// first.
fn shape(field: &Field<'_>, reference: &Value) {
    match reference {
        Value::Object(known) if known.is_empty() => {
            let _ = field.entries();
        }
        Value::Object(known) => {
            for (key, child) in field.entries() {
                match known.get(key) {
                    Some(_) if child.node().value == crate::source::document::Value::Null => {
                        child.invalid(format!("`{key}` has no value"), "remove it, or say which");
                    }
                    Some(inner) => shape(&child, inner),
                    None => {
                        let names = known.keys().map(String::as_str);
                        let hint = did_you_mean(key, names.clone()).unwrap_or_else(|| {
                            format!("fields here: {}", names.collect::<Vec<_>>().join(", "))
                        });
                        child.refuse(code::UNKNOWN_FIELD, format!("there is no field `{key}`"), hint);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in field.items() {
                items.iter().for_each(|inner| shape(&item, inner));
            }
        }
        Value::String(_) => drop(field.text()),
        Value::Bool(_) => drop(field.flag()),
        Value::Number(number) if number.is_f64() => drop(field.number(f64::MIN..=f64::MAX)),
        Value::Number(_) => drop(field.count()),
        Value::Null => {}
    }
}
