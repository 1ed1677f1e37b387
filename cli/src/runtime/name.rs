//! Names as Kubernetes has them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;

/// The name of a mesh: a DNS label, so that it can be a folder's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MeshName(String);

impl MeshName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MeshName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for MeshName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        label(text).map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for MeshName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a DNS label (RFC 1123): what services, namespaces and workloads are called.
///
/// # Errors
/// Says what is wrong with it.
pub fn label(text: &str) -> Result<(), String> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > 63 {
        "it is longer than 63 characters"
    } else if !text.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-') {
        "only a to z, 0 to 9 and `-` are allowed"
    } else if text.starts_with('-') || text.ends_with('-') {
        "it must start and end with a letter or digit"
    } else {
        return Ok(());
    };
    Err(format!("`{text}` cannot be a name: {why}"))
}

/// Whether `text` may be a label's value in Kubernetes.
///
/// # Errors
/// Says what is wrong with it.
pub fn label_value(text: &str) -> Result<(), String> {
    let inner = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    let edge = |it: Option<char>| it.is_none_or(|it| it.is_ascii_alphanumeric());
    if text.len() <= 63
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().next_back())
    {
        return Ok(());
    }
    Err(format!(
        "`{text}` cannot be a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at \
         either end"
    ))
}
