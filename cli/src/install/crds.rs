//! The kinds of policies as they are installed: `deploy/crds`, made of the control plane's registry.

use serde_json::Value;
use weft_control_plane::crds;

use crate::output::yaml::to_yaml;

#[cfg(test)]
#[path = "crds_tests.rs"]
mod tests;

/// Kind of the definitions.
pub const KIND: &str = "CustomResourceDefinition";

/// All definitions.
#[must_use]
pub fn all() -> Vec<Value> {
    crds::all().iter().filter_map(|definition| serde_json::to_value(definition).ok()).collect()
}

/// The definitions as files: name and text, as in `deploy/crds`.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let head = "# Made from the control plane's registry of kinds: UPDATE=1 cargo test --workspace --lib install::crds\n";
    let file = |definition: Value| {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        (format!("{name}.yaml"), format!("{head}{}", to_yaml(&definition)))
    };
    all().into_iter().map(file).collect()
}
