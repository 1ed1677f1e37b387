//! Circuit breakers: bounds on what is under way to a cluster.
//!
//! Each worker counts for itself, so that no lock is taken, and gets an equal part of the bound, rounded up: with two
//! workers and a bound of 3 each allows 2. A bound below the number of workers therefore allows one a worker.

use std::cell::Cell;
use std::rc::Rc;

use weft_model::cluster::{CircuitBreakers, RetryBudget};

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

/// What is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bounded {
    /// Connections that are open or being opened.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests and TCP connections under way.
    Requests,
    /// Retries under way or waiting.
    Retries,
}

/// The counters of one cluster and worker.
#[derive(Debug)]
pub(crate) struct Limits {
    bounds: Cell<CircuitBreakers>,
    counts: [Cell<u32>; 4],
    /// Requests that were refused.
    overflows: Cell<u64>,
}

impl Limits {
    pub(crate) fn new(bounds: CircuitBreakers, workers: u32) -> Rc<Self> {
        Rc::new(Self {
            bounds: Cell::new(divide(bounds, workers)),
            counts: Default::default(),
            overflows: Cell::new(0),
        })
    }

    pub(crate) fn configure(&self, bounds: CircuitBreakers, workers: u32) {
        self.bounds.set(divide(bounds, workers));
    }

    /// The budget that stands in place of a number of retries, and whether one more may begin by it; none: there is
    /// no such budget.
    pub(crate) fn budget_allows(&self) -> Option<bool> {
        let budget = self.bounds.get().retry_budget?;
        let under_way = u64::from(self.count(Bounded::Requests)) + u64::from(self.count(Bounded::Pending));
        let share = under_way * u64::from(budget.budget.millionths()) / 1_000_000;
        Some(u64::from(self.count(Bounded::Retries)) < share.max(budget.min_retry_concurrency.into()))
    }

    pub(crate) fn count(&self, what: Bounded) -> u32 {
        self.counts[what as usize].get()
    }

    pub(crate) fn overflows(&self) -> u64 {
        self.overflows.get()
    }

    pub(crate) fn has_room(&self, what: Bounded) -> bool {
        self.count(what) < self.bound(what)
    }

    /// Counts one more until the guard is dropped; none when the bound is reached.
    pub(crate) fn enter(self: &Rc<Self>, what: Bounded) -> Option<LimitGuard> {
        if self.has_room(what) {
            return Some(self.enter_unbounded(what));
        }
        self.overflows.set(self.overflows.get() + 1);
        None
    }

    /// Counts one more whatever the bound.
    pub(crate) fn enter_unbounded(self: &Rc<Self>, what: Bounded) -> LimitGuard {
        let count = &self.counts[what as usize];
        count.set(count.get() + 1);
        LimitGuard { limits: self.clone(), what }
    }

    fn bound(&self, what: Bounded) -> u32 {
        let bounds = self.bounds.get();
        match what {
            Bounded::Connections => bounds.max_connections,
            Bounded::Pending => bounds.max_pending_requests,
            Bounded::Requests => bounds.max_requests,
            Bounded::Retries => bounds.max_retries,
        }
    }
}

/// One that is counted.
#[derive(Debug)]
pub(crate) struct LimitGuard {
    limits: Rc<Limits>,
    what: Bounded,
}

impl Drop for LimitGuard {
    fn drop(&mut self) {
        let count = &self.limits.counts[self.what as usize];
        count.set(count.get().saturating_sub(1));
    }
}

fn divide(bounds: CircuitBreakers, workers: u32) -> CircuitBreakers {
    let part = |bound: u32| if bound == u32::MAX { bound } else { bound.div_ceil(workers.max(1)) };
    CircuitBreakers {
        max_connections: part(bounds.max_connections),
        max_pending_requests: part(bounds.max_pending_requests),
        max_requests: part(bounds.max_requests),
        max_retries: part(bounds.max_retries),
        retry_budget: bounds.retry_budget.map(|budget| RetryBudget {
            min_retry_concurrency: part(budget.min_retry_concurrency),
            ..budget
        }),
    }
}
