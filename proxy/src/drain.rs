//! Stop taking new work, finish what is under way.
//!
//! On the first SIGTERM or SIGINT the readiness turns false, responses tell their clients to come back on another
//! connection, and everything goes on being served: callers may not have heard yet, and the workload itself may still
//! send until it has ended (PAINS 2). The process ends when no connection is left, at the latest after the drain
//! time. A second signal ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;

/// How far the process is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Serving.
    Running,
    /// Finishing what is under way.
    Draining,
    /// Done: whatever is left is cut.
    Ended,
}

/// Tells everybody that the process is about to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    phase: watch::Receiver<Phase>,
}

impl DrainSignal {
    /// Ready when draining has begun; at once when it has begun before.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Ready when the process should end.
    pub async fn ended(&self) {
        self.reached(Phase::Ended).await;
    }

    /// How far it is now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.clone();
        if receiver.wait_for(|now| *now >= phase).await.is_err() {
            // Whoever could have begun it is gone: it never begins.
            std::future::pending::<()>().await;
        }
    }
}

/// Begins and ends draining. One a process.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    open: OpenConnections,
}

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Running), open: OpenConnections::default() }
    }
}

impl Drain {
    /// To be told.
    #[must_use]
    pub fn signal(&self) -> DrainSignal {
        DrainSignal { phase: self.phase.subscribe() }
    }

    /// Where connections are counted whose end draining waits for.
    #[must_use]
    pub fn open_connections(&self) -> OpenConnections {
        self.open.clone()
    }

    /// Begins; what was begun before goes on.
    pub fn begin(&self) {
        self.phase.send_if_modified(|phase| {
            let changed = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            changed
        });
    }

    /// Ends, whatever is left.
    pub fn end(&self) {
        self.phase.send_replace(Phase::Ended);
    }

    /// Begins, waits until no connection is left, though at least `at_least`, or until `at_most` is over, and ends.
    /// Returns how many were cut.
    pub async fn run(&self, at_least: Duration, at_most: Duration) -> usize {
        self.begin();
        let idle = async {
            tokio::time::sleep(at_least).await;
            self.open.none_left().await;
        };
        let mut signal = self.phase.subscribe();
        tokio::select! {
            () = idle => {}
            () = tokio::time::sleep(at_most) => {}
            // A second signal.
            _ = signal.wait_for(|phase| *phase == Phase::Ended) => {}
        }
        self.end();
        self.open.count()
    }
}

/// Counts the process's open connections. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct OpenConnections(Arc<Counter>);

#[derive(Default, Debug)]
struct Counter {
    open: AtomicUsize,
    emptied: Notify,
}

impl OpenConnections {
    /// Counts one, until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.0.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Ready when there is none.
    pub async fn none_left(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub struct OpenConnection(Arc<Counter>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
