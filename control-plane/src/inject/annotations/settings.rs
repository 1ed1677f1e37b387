//! What one pod's sidecar is to be.

use serde_json::Value;

use crate::inject::configuration::SIDECAR_TEMPLATE;
use crate::inject::proxy_config::{self, ProxyConfig};
use crate::inject::quantity;
use crate::inject::values::{InjectionValues, InterceptionValues};
use crate::source::diagnostic::code;
use crate::source::{Finding, Severity};

/// What one pod's sidecar is to be.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::inject) struct PodSettings {
    /// The image's full name.
    pub image: String,
    /// As the container's field `resources`.
    pub resources: Value,
    /// What is logged.
    pub log_level: String,
    /// Of `proxy.istio.io/config`.
    pub concurrency: Option<u32>,
    /// Worker threads where neither that nor a CPU limit says it.
    pub default_concurrency: u32,
    /// The application starts when the sidecar can serve it.
    pub hold: bool,
    /// How long what is under way may take when the pod ends, where the pod says it.
    pub drain: Option<String>,
    /// The same of a native sidecar that does not.
    pub default_drain: String,
    /// Share of traced requests, in per cent.
    pub sampling: Option<f64>,
    /// Environment of the sidecar.
    pub environment: Vec<(String, String)>,
    /// Lists for interception.
    pub interception: InterceptionValues,
    /// Users whose packets leave directly.
    pub exclude_uids: String,
    /// Groups whose packets leave directly.
    pub exclude_gids: String,
    /// Kubelet asks the sidecar.
    pub rewrite_probes: bool,
    /// Further volumes of the pod.
    pub volumes: Vec<Value>,
    /// Further mounts of the sidecar.
    pub volume_mounts: Vec<Value>,
    /// As an init container that goes on.
    pub native: bool,
    /// Prometheus is told of the sidecar.
    pub prometheus: bool,
    /// Templates, in the order in which they are merged.
    pub templates: Vec<String>,
    /// Those that exist.
    pub known_templates: Vec<String>,
}

impl PodSettings {
    /// Of a pod without annotations.
    pub(super) fn of(values: &InjectionValues) -> Self {
        Self {
            image: values.image.reference(),
            resources: values.proxy.resources.to_json(),
            log_level: values.proxy.log_level.clone(),
            concurrency: None,
            default_concurrency: values.proxy.concurrency,
            hold: values.proxy.hold_application_until_proxy_starts,
            drain: None,
            default_drain: proxy_config::duration(&values.proxy.termination_drain_duration)
                .unwrap_or_else(|_| values.proxy.termination_drain_duration.clone()),
            sampling: values.proxy.trace_sampling,
            environment: values.proxy.env.clone().into_iter().collect(),
            interception: values.interception.clone(),
            exclude_uids: String::new(),
            exclude_gids: String::new(),
            rewrite_probes: values.rewrite_app_probes,
            volumes: Vec::new(),
            volume_mounts: Vec::new(),
            native: values.proxy.native,
            prometheus: values.prometheus,
            templates: values.default_templates.clone(),
            known_templates: std::iter::once(SIDECAR_TEMPLATE.to_owned())
                .chain(values.templates.keys().cloned())
                .collect(),
        }
    }

    /// With what `proxy.istio.io/config` says.
    pub(super) fn configure(&mut self, config: ProxyConfig) {
        self.concurrency = config.concurrency.or(self.concurrency);
        self.hold = config.hold.unwrap_or(self.hold);
        self.drain = config.drain.or(self.drain.take());
        self.sampling = config.sampling.or(self.sampling);
        for (name, value) in config.metadata {
            self.environment.retain(|(other, _)| *other != name);
            self.environment.push((name, value));
        }
    }

    /// Worker threads; 0: one for each core. As Istio: what is asked for, else the CPU limit rounded up.
    pub(in crate::inject) fn worker_threads(&self) -> u32 {
        let limit = self.resources["limits"]["cpu"].as_str().and_then(|limit| quantity::parse(limit).ok());
        // At least one, at most what fits.
        let of_limit = limit.map(|cores| cores.ceil().clamp(1.0, 1024.0) as u32);
        self.concurrency.or(of_limit).unwrap_or(self.default_concurrency)
    }

    /// What contradicts itself.
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        for name in ["cpu", "memory"] {
            let amount = |part: &str| {
                let text = self.resources[part][name].as_str()?;
                Some((text, quantity::parse(text).ok()?))
            };
            let (Some((requested, least)), Some((limit, most))) = (amount("requests"), amount("limits"))
            else {
                continue;
            };
            if least > most {
                let (word, of_limit) = if name == "cpu" {
                    ("proxyCPU", "proxyCPULimit")
                } else {
                    ("proxyMemory", "proxyMemoryLimit")
                };
                findings.push(super::finding(
                    Severity::Error,
                    code::CONFLICTING_FIELDS,
                    &format!("sidecar.istio.io/{word}"),
                    format!("{requested} of {name} is reserved, but only {limit} allowed"),
                    format!("set sidecar.istio.io/{of_limit} to {requested} or more"),
                ));
            }
        }
    }
}
