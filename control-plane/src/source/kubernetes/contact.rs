//! Whether the API server can be reached, and since when not: an idle watch looks the same as one that is cut off.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;

/// Between two questions; a question that takes longer has failed.
const INTERVAL: Duration = Duration::from_secs(5);

/// When the API server was heard of last.
#[derive(Clone, Debug)]
pub struct Contact(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Instant,
    problem: Option<String>,
}

impl Default for Contact {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { last: Instant::now(), problem: None })))
    }
}

impl Contact {
    /// How old the youngest sign of life is. Objects may have changed since without being known here.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.elapsed()
    }

    /// Why it cannot be reached; none when it can.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    pub(super) fn heard(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Instant::now();
        if state.problem.take().is_some() {
            tracing::info!("the API server answers again");
        }
    }

    pub(super) fn failed(&self, problem: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.problem.is_none() {
            tracing::warn!(%problem, "the API server does not answer; what was last known stays in force");
        }
        state.problem = Some(problem);
    }

    /// Asks now and then, for ever.
    pub(super) async fn keep(self, client: Client) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match tokio::time::timeout(INTERVAL, client.apiserver_version()).await {
                Ok(Ok(_)) => self.heard(),
                Ok(Err(error)) => self.failed(crate::kubernetes::explain(&error)),
                Err(_) => self.failed(format!("no answer within {} s", INTERVAL.as_secs())),
            }
        }
    }
}
