//! Whether workloads take requests: kept in a file, so that a control plane that was killed does not take every
//! endpoint away when it comes back.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use weft_model::endpoint::Health;

use crate::world::{WorkloadKey, WorkloadStates};

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;

/// States of registered workloads. Workloads that nobody registered are not in it: they are held for healthy.
#[derive(Debug)]
pub struct StateBook {
    file: Option<PathBuf>,
    states: WorkloadStates,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    // "namespace/name" to the state's word.
    workloads: BTreeMap<String, State>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ready,
    Draining,
    NotReady,
}

impl StateBook {
    /// The book in `file`; an empty one if there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read or is not one of ours.
    pub fn open(file: &Path) -> io::Result<Self> {
        let stored: Stored = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored { workloads: BTreeMap::new() },
            Err(error) => return Err(error),
        };
        let states = stored.workloads.into_iter().filter_map(|(key, state)| {
            let (namespace, name) = key.split_once('/')?;
            let health = match state {
                State::Ready => Health::Healthy,
                State::Draining => Health::Draining,
                State::NotReady => Health::Unhealthy,
            };
            Some(((Arc::from(namespace), Arc::from(name)), health))
        });
        Ok(Self { file: Some(file.to_owned()), states: states.collect() })
    }

    /// A book that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { file: None, states: WorkloadStates::new() }
    }

    /// All of them.
    #[must_use]
    pub fn states(&self) -> &WorkloadStates {
        &self.states
    }

    /// Remembers a state; none forgets the workload. Says whether anything changed.
    ///
    /// # Errors
    /// When the file cannot be written; the book then stays as it was.
    pub fn set(&mut self, key: &WorkloadKey, state: Option<Health>) -> io::Result<bool> {
        let mut next = self.states.clone();
        let before = match state {
            Some(state) => next.insert(key.clone(), state),
            None => next.remove(key),
        };
        if before == state {
            return Ok(false);
        }
        self.write(&next)?;
        self.states = next;
        Ok(true)
    }

    fn write(&self, states: &WorkloadStates) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let word = |health: &Health| match health {
            Health::Healthy => State::Ready,
            Health::Draining => State::Draining,
            Health::Unhealthy => State::NotReady,
        };
        let workloads =
            states.iter().map(|((namespace, name), health)| (format!("{namespace}/{name}"), word(health)));
        let stored = Stored { workloads: workloads.collect() };
        let fresh = path.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    }
}
