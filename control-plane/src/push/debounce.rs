//! Gathers changes: waits until they pause, but never longer than a ceiling.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

#[cfg(test)]
#[path = "debounce_tests.rs"]
mod tests;

/// How long changes are gathered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Debounce {
    /// A push starts when nothing changed for so long.
    pub quiet: Duration,
    /// And at the latest so long after the first change.
    pub ceiling: Duration,
}

impl Debounce {
    /// Waits until `lane` of the watched value is beyond `seen` and has settled; gives the newest value. A change
    /// that leaves `lane` as it is neither starts nor prolongs the wait. `None` when the sender is gone.
    pub async fn settled<T: Copy>(
        &self,
        changes: &mut watch::Receiver<T>,
        lane: impl Fn(&T) -> u64,
        seen: u64,
    ) -> Option<T> {
        let mut latest = loop {
            let value = *changes.borrow_and_update();
            if lane(&value) > seen {
                break value;
            }
            changes.changed().await.ok()?;
        };
        let ceiling = Instant::now() + self.ceiling;
        let mut quiet = Instant::now() + self.quiet;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(quiet.min(ceiling)) => return Some(latest),
                changed = changes.changed() => {
                    changed.ok()?;
                    let value = *changes.borrow_and_update();
                    if lane(&value) > lane(&latest) {
                        quiet = Instant::now() + self.quiet;
                    }
                    latest = value;
                }
            }
        }
    }
}
