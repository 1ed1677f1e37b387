//! What a pod's annotations ask of its sidecar, over what the mesh is set to.
//!
//! Istio's names and Weft's: `sidecar.istio.io/proxyCPU` is `weft.mesh/proxyCPU` too, and the latter wins. An
//! annotation below `weft.mesh/` that does not exist is refused, since nothing would come of it.

pub(super) mod lists;
mod settings;

use serde_json::{Value, json};

pub(super) use settings::PodSettings;

use super::decide::INJECT;
use super::proxy_config;
use super::quantity;
use super::status::STATUS_ANNOTATION;
use super::values::InjectionValues;
use crate::source::diagnostic::code;
use crate::source::document::join;
use crate::source::fields::{Problem, did_you_mean};
use crate::source::{Finding, Severity};

#[cfg(test)]
#[path = "annotations_tests.rs"]
mod tests;

/// What an annotation's text does to the settings.
type Read = fn(&str, &mut PodSettings) -> Result<(), Problem>;

/// An annotation by Weft's name below `weft.mesh/` and by Istio's.
struct Known {
    own: &'static str,
    istio: &'static str,
    read: Read,
}

/// Every annotation that says something of the sidecar. `proxy.istio.io/config` and the templates are read apart.
const KNOWN: [Known; 22] = [
    Known { own: "proxyImage", istio: "sidecar.istio.io/proxyImage", read: image },
    Known {
        own: "proxyCPU",
        istio: "sidecar.istio.io/proxyCPU",
        read: |t, s| amount(t, s, "requests", "cpu"),
    },
    Known {
        own: "proxyCPULimit",
        istio: "sidecar.istio.io/proxyCPULimit",
        read: |t, s| amount(t, s, "limits", "cpu"),
    },
    Known {
        own: "proxyMemory",
        istio: "sidecar.istio.io/proxyMemory",
        read: |t, s| amount(t, s, "requests", "memory"),
    },
    Known {
        own: "proxyMemoryLimit",
        istio: "sidecar.istio.io/proxyMemoryLimit",
        read: |t, s| amount(t, s, "limits", "memory"),
    },
    Known { own: "logLevel", istio: "sidecar.istio.io/logLevel", read: log_level },
    Known { own: "interceptionMode", istio: "sidecar.istio.io/interceptionMode", read: interception_mode },
    Known {
        own: "rewriteAppProbes",
        istio: "sidecar.istio.io/rewriteAppHTTPProbers",
        read: |t, s| flag(t).map(|flag| s.rewrite_probes = flag),
    },
    Known {
        own: "userVolume",
        istio: "sidecar.istio.io/userVolume",
        read: |t, s| named(t).map(|v| s.volumes = v),
    },
    Known {
        own: "userVolumeMount",
        istio: "sidecar.istio.io/userVolumeMount",
        read: |t, s| named(t).map(|mounts| s.volume_mounts = mounts),
    },
    Known {
        own: "nativeSidecar",
        istio: "sidecar.istio.io/nativeSidecar",
        read: |t, s| flag(t).map(|flag| s.native = flag),
    },
    Known {
        own: "includeInboundPorts",
        istio: "traffic.sidecar.istio.io/includeInboundPorts",
        read: |t, s| lists::ports_or_all(t).map(|list| s.interception.include_inbound_ports = list),
    },
    Known {
        own: "excludeInboundPorts",
        istio: "traffic.sidecar.istio.io/excludeInboundPorts",
        read: |t, s| lists::ports(t).map(|list| s.interception.exclude_inbound_ports = list),
    },
    Known {
        own: "includeOutboundPorts",
        istio: "traffic.sidecar.istio.io/includeOutboundPorts",
        read: |t, s| lists::ports(t).map(|list| s.interception.include_outbound_ports = list),
    },
    Known {
        own: "excludeOutboundPorts",
        istio: "traffic.sidecar.istio.io/excludeOutboundPorts",
        read: |t, s| lists::ports(t).map(|list| s.interception.exclude_outbound_ports = list),
    },
    Known {
        own: "includeOutboundIPRanges",
        istio: "traffic.sidecar.istio.io/includeOutboundIPRanges",
        read: |t, s| lists::ranges_or_all(t).map(|list| s.interception.include_outbound_ip_ranges = list),
    },
    Known {
        own: "excludeOutboundIPRanges",
        istio: "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        read: |t, s| lists::ranges(t).map(|list| s.interception.exclude_outbound_ip_ranges = list),
    },
    Known {
        own: "excludeInterfaces",
        istio: "traffic.sidecar.istio.io/excludeInterfaces",
        read: |t, s| lists::interfaces(t).map(|list| s.interception.exclude_interfaces = list),
    },
    Known {
        own: "excludeOutboundUIDs",
        istio: "",
        read: |t, s| lists::ids(t).map(|list| s.exclude_uids = list),
    },
    Known {
        own: "excludeOutboundGIDs",
        istio: "",
        read: |t, s| lists::ids(t).map(|list| s.exclude_gids = list),
    },
    Known { own: "prometheus", istio: "", read: |t, s| flag(t).map(|flag| s.prometheus = flag) },
    Known { own: "templates", istio: "inject.istio.io/templates", read: templates },
];

/// Read apart, or by others.
const OTHERS: [&str; 4] = ["inject", "status", "rev", "proxyConfig"];
/// Istio's, without effect here, that change what happens to traffic: refused.
const REFUSED: [(&str, &str); 6] = [
    ("sidecar.istio.io/discoveryAddress", "the mesh's values say where the control plane is"),
    ("sidecar.istio.io/bootstrapOverride", "the sidecar is no Envoy"),
    ("sidecar.istio.io/controlPlaneAuthPolicy", "the control plane is always authenticated"),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", "name virtual machines' interfaces in excludeInterfaces"),
    ("istio.io/reroute-virtual-interfaces", "name virtual machines' interfaces in excludeInterfaces"),
    ("sidecar.istio.io/proxyImageType", "name the whole image in sidecar.istio.io/proxyImage"),
];
/// Istio's, without effect here, that tune how it is observed: warned of.
const IGNORED: [&str; 8] = [
    "sidecar.istio.io/agentLogLevel",
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/statsHistogramBuckets",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionRegexps",
    "sidecar.istio.io/statsInclusionSuffixes",
    "sidecar.istio.io/enableCoreDump",
];

/// What a pod's annotations make of the mesh's settings, and warnings.
///
/// # Errors
/// Every mistake in them, with the annotation's field path.
pub(super) fn read(
    pod: &Value,
    values: &InjectionValues,
) -> Result<(PodSettings, Vec<Finding>), Vec<Finding>> {
    let mut settings = PodSettings::of(values);
    let mut findings = Vec::new();
    let annotations =
        pod.get("metadata").and_then(|metadata| metadata.get("annotations")).and_then(Value::as_object);
    let entries = || annotations.into_iter().flatten();
    let text_of = |name: &str| entries().find(|(key, _)| *key == name).and_then(|(_, value)| value.as_str());
    for known in &KNOWN {
        let own = format!("weft.mesh/{}", known.own);
        let Some((key, text)) =
            [own.as_str(), known.istio].into_iter().find_map(|key| Some((key, text_of(key)?)))
        else {
            continue;
        };
        if let Err(problem) = (known.read)(text, &mut settings) {
            findings.push(finding(Severity::Error, code::INVALID_VALUE, key, problem.message, problem.hint));
        }
    }
    for key in ["weft.mesh/proxyConfig", "proxy.istio.io/config"] {
        let Some(text) = text_of(key) else { continue };
        match proxy_config::parse(text) {
            Ok(config) => settings.configure(config),
            Err(wrong) => findings.extend(wrong.into_iter().map(|wrong| within(key, wrong))),
        }
        break;
    }
    findings.extend(entries().filter_map(|(key, _)| unknown(key)));
    settings.check(&mut findings);
    if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok((settings, findings)) }
}

/// A finding of the text in an annotation.
fn within(key: &str, wrong: Finding) -> Finding {
    let message =
        if wrong.field.is_empty() { wrong.message } else { format!("{}: {}", wrong.field, wrong.message) };
    finding(wrong.severity, wrong.code, key, message, wrong.hint)
}

/// A finding about an annotation.
pub(super) fn finding(
    severity: Severity,
    code: &'static str,
    key: &str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    let message = format!("{key}: {}", message.into());
    Finding { field: join("metadata.annotations", key), ..Finding::new(severity, code, message).hint(hint) }
}

/// What is wrong with an annotation that nobody reads, when it looks as if somebody did.
fn unknown(key: &str) -> Option<Finding> {
    if let Some((_, hint)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
        return Some(finding(Severity::Error, code::UNSUPPORTED, key, "not supported", *hint));
    }
    if IGNORED.contains(&key) {
        return Some(finding(Severity::Warning, code::NO_EFFECT, key, "has no effect here", "remove it"));
    }
    let own = key.strip_prefix("weft.mesh/");
    let istio = key.starts_with("traffic.sidecar.istio.io/") || key.starts_with("sidecar.istio.io/");
    let is_known = |known: &Known| Some(known.own) == own || known.istio == key;
    let read_elsewhere = own.is_some_and(|own| OTHERS.contains(&own))
        || key == STATUS_ANNOTATION
        || key == "sidecar.istio.io/status"
        || INJECT.contains(&key);
    if (own.is_none() && !istio) || KNOWN.iter().any(is_known) || read_elsewhere {
        return None;
    }
    let hint = match own {
        Some(own) => did_you_mean(own, KNOWN.iter().map(|known| known.own).chain(OTHERS)),
        None => did_you_mean(key, KNOWN.iter().map(|known| known.istio)),
    };
    let hint = hint.unwrap_or_else(|| "remove it".to_owned());
    Some(finding(Severity::Error, code::UNKNOWN_FIELD, key, "there is no such annotation", hint))
}

fn image(text: &str, settings: &mut PodSettings) -> Result<(), Problem> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Problem::new(
            format!("`{text}` is no image"),
            "such as registry.example/weft-proxy:1.2.3",
        ));
    }
    text.clone_into(&mut settings.image);
    Ok(())
}

fn amount(text: &str, settings: &mut PodSettings, part: &str, name: &str) -> Result<(), Problem> {
    quantity::parse(text)?;
    settings.resources[part][name] = json!(text);
    Ok(())
}

fn log_level(text: &str, settings: &mut PodSettings) -> Result<(), Problem> {
    // Envoy's words too; the sidecar has none below error.
    let level = match text {
        "off" => "off",
        "critical" | "error" => "error",
        "warning" | "warn" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => {
            let hint = "one of trace, debug, info, warning, error, off";
            return Err(Problem::new(format!("`{text}` is no log level"), hint));
        }
    };
    level.clone_into(&mut settings.log_level);
    Ok(())
}

fn interception_mode(text: &str, _: &mut PodSettings) -> Result<(), Problem> {
    match text {
        "REDIRECT" => Ok(()),
        "TPROXY" => Err(Problem::new(
            "TPROXY is not supported",
            "write REDIRECT, which needs no capability in the sidecar",
        )),
        "NONE" => Err(Problem::new(
            "NONE is not supported",
            "write the label sidecar.istio.io/inject: \"false\" instead",
        )),
        _ => Err(Problem::new(format!("`{text}` is no interception mode"), "write REDIRECT")),
    }
}

fn flag(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(format!("`{text}` is neither true nor false"), "write \"true\" or \"false\"")),
    }
}

/// A JSON list of objects with names, or an object of them by name, as Istio reads it.
fn named(text: &str) -> Result<Vec<Value>, Problem> {
    let wrong =
        |why: String| Problem::new(why, r#"such as [{"name": "certs", "secret": {"secretName": "certs"}}]"#);
    let items = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) => items,
        Ok(Value::Object(by_name)) => by_name
            .into_iter()
            .map(|(name, mut item)| {
                if let Some(map) = item.as_object_mut() {
                    map.shift_insert(0, "name".to_owned(), Value::String(name));
                }
                item
            })
            .collect(),
        Ok(_) => return Err(wrong("neither a list nor an object".to_owned())),
        Err(error) => return Err(wrong(format!("no JSON: {error}"))),
    };
    if let Some(item) = items.iter().find(|item| !item["name"].is_string()) {
        return Err(wrong(format!("{item} has no name")));
    }
    Ok(items)
}

fn templates(text: &str, settings: &mut PodSettings) -> Result<(), Problem> {
    settings.templates = lists::words(text);
    let unknown: Vec<_> =
        settings.templates.iter().filter(|name| !settings.known_templates.contains(name)).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let all: Vec<_> = settings.known_templates.iter().map(String::as_str).collect();
    Err(Problem::new(
        format!("there is no template {}", unknown.join(", ")),
        format!("there are {}", all.join(", ")),
    ))
}
