//! `weft check`: whether an installation is well, and which pods are not in the mesh that should be.

mod control_plane;
mod injection;
mod sidecars;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::command::CommandError;

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warning,
    /// Does not work.
    Error,
}

/// What one check came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// How bad.
    pub level: Level,
    /// What was looked at: `webhook`, `injection`.
    pub subject: &'static str,
    /// What was found.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
    /// What it is about: pods, sidecars; `NAMESPACE/NAME`.
    pub about: Vec<String>,
}

impl Check {
    fn ok(subject: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, message: message.into(), hint: String::new(), about: Vec::new() }
    }

    fn warning(subject: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, hint: hint.into(), ..Self::ok(subject, message) }
    }

    fn error(subject: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Error, hint: hint.into(), ..Self::ok(subject, message) }
    }

    fn about(self, about: Vec<String>) -> Self {
        Self { about, ..self }
    }
}

/// All checks; what cannot be looked at because something before it does not work is left out.
///
/// # Errors
/// When the API server does not answer or refuses.
pub async fn run(cluster: &Cluster) -> Result<Vec<Check>, CommandError> {
    let mut checks = control_plane::check(cluster).await?;
    checks.extend(injection::check(cluster).await?);
    if checks.iter().all(|check| check.subject != "control plane" || check.level != Level::Error) {
        checks.extend(sidecars::check(cluster).await?);
    }
    Ok(checks)
}
