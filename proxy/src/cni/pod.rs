//! What a pod's object says about its interception.

use clap::Parser;
use serde_json::Value;

use super::VALIDATION;
use crate::interception::command::SettingArgs;

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;

/// What is to be done for a pod.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Nothing, and why.
    Nothing(&'static str),
    /// Rules, as these arguments say.
    Rules(Box<SettingArgs>),
}

/// The arguments of the init container, as clap reads them.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    setting: SettingArgs,
}

/// Reads it from the pod.
///
/// # Errors
/// When it is to be intercepted, but its arguments cannot be understood.
pub fn wanted(pod: &Value) -> Result<Wanted, String> {
    if pod["spec"]["hostNetwork"] == Value::Bool(true) {
        return Ok(Wanted::Nothing("it is of the host's network"));
    }
    let Some(container) = named(&pod["spec"]["initContainers"], VALIDATION) else {
        return Ok(Wanted::Nothing("it is not injected, or sets its rules by itself"));
    };
    let words = |field: &str| {
        let list = container[field].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let words: Vec<String> = words("command").into_iter().chain(words("args")).collect();
    let at = words.windows(2).position(|pair| pair == ["intercept", "check"]).ok_or_else(|| {
        format!("its init container {VALIDATION} does not run `weft-proxy intercept check`, but {words:?}")
    })?;
    let arguments = without_timeout(words.get(at + 2..).unwrap_or_default());
    let line = Line::try_parse_from(std::iter::once("weft-proxy".to_owned()).chain(arguments));
    let line = line.map_err(|error| {
        let said = error.to_string();
        format!(
            "the arguments of its init container {VALIDATION}: {}",
            said.lines().next().unwrap_or_default()
        )
    })?;
    Ok(Wanted::Rules(Box::new(line.setting)))
}

/// `--timeout` is for the check alone.
fn without_timeout(words: &[String]) -> Vec<String> {
    let (mut kept, mut words) = (Vec::new(), words.iter());
    while let Some(word) = words.next() {
        if word == "--timeout" {
            words.next();
        } else if !word.starts_with("--timeout=") {
            kept.push(word.clone());
        }
    }
    kept
}

/// The uid that the kubelet knows the pod by: of a static pod, that of its file, and not of its mirror.
#[must_use]
pub fn is(pod: &Value, uid: &str) -> bool {
    let mirror = &pod["metadata"]["annotations"]["kubernetes.io/config.mirror"];
    uid.is_empty() || pod["metadata"]["uid"] == uid || *mirror == uid
}

/// Whether its init container has found out that the rules are missing.
#[must_use]
pub fn is_unprotected(pod: &Value) -> bool {
    let Some(status) = named(&pod["status"]["initContainerStatuses"], VALIDATION) else { return false };
    // As `weft-proxy intercept check` ends where the rules are not in force.
    let ended = |state: &Value| state["terminated"]["exitCode"] == 126;
    let gone = !pod["metadata"]["deletionTimestamp"].is_null();
    !gone
        && (ended(&status["state"]) || (!status["state"]["waiting"].is_null() && ended(&status["lastState"])))
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry["name"] == name)
}
