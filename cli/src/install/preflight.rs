//! What would fail, looked at before anything is changed.

use std::fmt;

use serde_json::Value;

use super::values::InstallValues;
use crate::cluster::Cluster;
use crate::command::CommandError;

mod permissions;
mod version;

/// Something that would not work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The installation would not work; else only a part of it.
    pub fatal: bool,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Problem {
    fn error(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { fatal: true, message: message.into(), hint: hint.into() }
    }

    fn warning(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::error(message, hint) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.fatal { "error" } else { "warning" }, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

/// All checks.
///
/// # Errors
/// When the API server does not answer.
pub async fn run(
    cluster: &Cluster,
    values: &InstallValues,
    objects: &[Value],
) -> Result<Vec<Problem>, CommandError> {
    let mut problems = version::check(cluster).await?;
    let lacking = permissions::check(cluster, values, objects).await?;
    let may_read = lacking.is_empty();
    problems.extend(lacking);
    if may_read {
        problems.extend(neighbours::check(cluster, values, objects).await?);
    }
    Ok(problems)
}

mod neighbours;
