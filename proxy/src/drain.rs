//! Stop taking new work, finish what is under way.
//!
//! On the first SIGTERM or SIGINT the readiness turns false, responses tell their clients to come back on another
//! connection, and everything goes on being served: callers may not have heard yet, and the workload itself may still
//! send until it has ended (PAINS 2). When no connection is left, listening ends: what has come meanwhile is still
//! served, and who comes later is refused by the kernel, which callers know to be safe to try elsewhere. Then the
//! process ends, at the latest after the drain time. A second signal ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;

/// What those who came last get when the time is up: enough to be answered, if only that they should go elsewhere.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// How far the process is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Serving.
    Running,
    /// Finishing what is under way, and still serving what comes.
    Draining,
    /// Nobody is let in any more; who is in is served.
    Closing,
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

    /// Ready when listening should end.
    pub async fn closing(&self) {
        self.reached(Phase::Closing).await;
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
    listening: OpenCount,
    open: OpenCount,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            listening: OpenCount::default(),
            open: OpenCount::default(),
        }
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
    pub fn open_connections(&self) -> OpenCount {
        self.open.clone()
    }

    /// Where those are counted who may still open connections.
    #[must_use]
    pub fn listening(&self) -> OpenCount {
        self.listening.clone()
    }

    /// Begins; what was begun before goes on.
    pub fn begin(&self) {
        self.reach(Phase::Draining);
    }

    fn reach(&self, wanted: Phase) {
        self.phase.send_if_modified(|phase| {
            let changed = *phase < wanted;
            *phase = (*phase).max(wanted);
            changed
        });
    }

    /// Ends, whatever is left.
    pub fn end(&self) {
        self.phase.send_replace(Phase::Ended);
    }

    /// Begins, waits until no connection has been open for as long as `quiet`, though at most `at_most`; then ends
    /// listening, waits for those that came meanwhile, and ends. Returns how many were cut.
    pub async fn run(&self, quiet: Duration, at_most: Duration) -> usize {
        let deadline = Instant::now() + at_most;
        self.begin();
        let left = async {
            let _ = timeout_at(deadline, self.open.none_for(quiet)).await;
            self.reach(Phase::Closing);
            let done = async {
                self.listening.none_left().await;
                self.open.none_left().await;
            };
            let _ = timeout_at(deadline.max(Instant::now() + LAST_MOMENT), done).await;
        };
        let mut signal = self.phase.subscribe();
        tokio::select! {
            () = left => {}
            // A second signal.
            _ = signal.wait_for(|phase| *phase == Phase::Ended) => {}
        }
        self.end();
        self.open.count()
    }
}

/// Counts what is open. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct OpenCount(Arc<Counter>);

#[derive(Default, Debug)]
struct Counter {
    open: AtomicUsize,
    /// All that ever were.
    entered: AtomicUsize,
    emptied: Notify,
}

impl OpenCount {
    /// Counts one, until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> OpenGuard {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.entered.fetch_add(1, Ordering::Relaxed);
        OpenGuard(self.0.clone())
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

    /// Ready when there has been none for so long.
    pub async fn none_for(&self, quiet: Duration) {
        loop {
            self.none_left().await;
            let before = self.0.entered.load(Ordering::Relaxed);
            tokio::time::sleep(quiet).await;
            if self.count() == 0 && self.0.entered.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// One that is open.
#[derive(Debug)]
pub struct OpenGuard(Arc<Counter>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
