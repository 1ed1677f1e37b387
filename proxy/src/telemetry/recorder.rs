//! One worker's telemetry, and the task on its thread that answers the rest of the process.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::access_log::{Entry, WorkerLog};
use super::record::{RequestRecord, TcpRecord};
use super::tables::{SeriesKey, Tables};

/// A worker's own telemetry: counters and buffers without locks. One a worker; clones share it. The default records
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Rc<WorkerTelemetry>>);

#[derive(Debug)]
struct WorkerTelemetry {
    shared: Arc<Shared>,
    tables: RefCell<Tables>,
    log: RefCell<Option<WorkerLog>>,
}

/// Asked of a worker.
#[derive(Debug)]
pub(super) enum Question {
    Series(oneshot::Sender<Answer>),
    /// Puts edges where a report takes them from.
    Edges(oneshot::Sender<()>),
    HandOver(oneshot::Sender<()>),
}

/// What a worker has counted.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) series: Vec<SeriesKey>,
    pub(super) folded: u64,
}

impl Recorder {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let log = shared.log.as_ref().map(|(log, writer)| WorkerLog::new(log.format.clone(), writer.clone()));
        let worker = Rc::new(WorkerTelemetry {
            shared: shared.clone(),
            tables: RefCell::new(Tables::new(shared.own.clone(), shared.admission.clone(), shared.bounds)),
            log: RefCell::new(log),
        });
        let (questions, asked) = mpsc::unbounded_channel();
        shared.workers().push(questions);
        tokio::task::spawn_local(answer(Rc::downgrade(&worker), asked));
        Self(Some(worker))
    }

    /// Counts and logs one exchange, after its last byte.
    pub fn request(&self, record: &RequestRecord<'_>) {
        let Some(worker) = &self.0 else { return };
        worker.tables.borrow_mut().request(record);
        if let Some(log) = &mut *worker.log.borrow_mut() {
            log.write(&Entry::Request(record, worker.shared.own.identity.as_deref()));
        }
        if let (Some(spans), Some(span)) = (&worker.shared.spans, record.span)
            && span.sampled
        {
            spans.export(&worker.shared.own, record, span);
        }
    }

    /// Counts a connection that opened, counts and logs one that closed.
    pub fn tcp(&self, record: &TcpRecord<'_>) {
        let Some(worker) = &self.0 else { return };
        worker.tables.borrow_mut().tcp(record);
        if let Some(log) = &mut *worker.log.borrow_mut()
            && record.closed
        {
            log.write(&Entry::Tcp(record, worker.shared.own.identity.as_deref()));
        }
    }
}

/// What was counted outlives the worker.
impl Drop for WorkerTelemetry {
    fn drop(&mut self) {
        self.shared.ending.fetch_add(1, Ordering::AcqRel);
        let tables = self.tables.get_mut();
        self.shared.folded.fetch_add(tables.folded(), Ordering::Relaxed);
        let edges = tables.take_edges();
        let others = tables.end();
        let mut left = self.shared.left();
        left.edges.extend(edges);
        left.others.extend(others);
        drop(left);
        self.shared.ended.fetch_add(1, Ordering::AcqRel);
        if let Some(log) = self.log.get_mut() {
            log.hand_over();
        }
    }
}

async fn answer(worker: Weak<WorkerTelemetry>, mut asked: mpsc::UnboundedReceiver<Question>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let question = tokio::select! {
            question = asked.recv() => question,
            _ = second.tick() => {
                let Some(worker) = worker.upgrade() else { return };
                worker.tables.borrow_mut().tick();
                worker.hand_over();
                continue;
            }
        };
        let (Some(question), Some(worker)) = (question, worker.upgrade()) else { return };
        match question {
            Question::Series(answer) => {
                let tables = worker.tables.borrow();
                drop(answer.send(Answer { series: tables.series(), folded: tables.folded() }));
            }
            Question::Edges(answer) => {
                // Not in the answer: if nobody waits for it any more they would be lost.
                let edges = worker.tables.borrow_mut().take_edges();
                worker.shared.left().edges.extend(edges);
                let _ = answer.send(());
            }
            Question::HandOver(answer) => {
                worker.hand_over();
                let _ = answer.send(());
            }
        }
    }
}

impl WorkerTelemetry {
    fn hand_over(&self) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.hand_over();
        }
    }
}
