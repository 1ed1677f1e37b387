//! One thread, one runtime, its own listeners, pools and counters. Nothing on a request's way leaves the thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use weft_model::identity::WorkloadIdentity;
use weft_model::snapshot::Snapshot;

use crate::discovery::Discovery;
use crate::drain::{DrainSignal, OpenCount};
use crate::filters::trace_context::Sampling;
use crate::http1::ServerSettings;
use crate::identity::Identity;
use crate::listener::accept::Acceptors;
use crate::listener::statistics::ListenerStatistics;
use crate::telemetry::Recorder;
use crate::tls::{ServerAcceptor, TlsContexts};
use crate::upstream::{ClusterStats, UpstreamSettings, Upstreams};

/// What all workers share; none of it is locked on a request's way.
pub struct Shared {
    /// The configuration.
    pub discovery: Discovery,
    /// The workload's certificate; none: this proxy speaks no mutual TLS.
    pub identity: Option<Identity>,
    /// Terminates mutual TLS.
    pub acceptor: Option<ServerAcceptor>,
    /// TLS with certificates of the user's own.
    pub contexts: Arc<TlsContexts>,
    /// When to stop.
    pub drain: DrainSignal,
    /// Workers that still listen: those who may let connections in.
    pub listening: OpenCount,
    /// Connections that the end waits for.
    pub open: OpenCount,
    /// Bounds.
    pub limits: Limits,
    /// Whether spans are made; none: trace headers are passed on untouched.
    pub sampling: Option<Sampling>,
    /// What happened to connections before they were served.
    pub statistics: ListenerStatistics,
    /// How requests are sent.
    pub upstream: UpstreamSettings,
    /// Makes a worker's own telemetry, on its thread.
    pub recorder: Box<dyn Fn() -> Recorder + Send + Sync>,
}

impl Shared {
    /// Who this workload is, as far as it is proven yet.
    #[must_use]
    pub fn own_identity(&self) -> Option<WorkloadIdentity> {
        Some(self.identity.as_ref()?.current()?.identity().clone())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds on what clients may ask of this proxy.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of all workers together; further ones are closed at once.
    pub max_connections: usize,
    /// For calls to the workload.
    pub http1_inbound: ServerSettings,
    /// For calls of the workload.
    pub http1_outbound: ServerSettings,
}

impl Limits {
    /// `drain_time`: how long the workload's own connections are left to it when the process ends.
    #[must_use]
    pub fn new(drain_time: Duration) -> Self {
        Self {
            max_connections: 60_000,
            http1_inbound: ServerSettings { add_date: false, ..ServerSettings::default() },
            // The workload may be in the middle of ending too: its idle connections are not closed under its hands.
            http1_outbound: ServerSettings {
                add_date: false,
                drain_idle: drain_time + Duration::from_secs(1),
                ..ServerSettings::default()
            },
        }
    }
}

/// What one worker has to itself.
pub struct Worker {
    /// What it shares.
    pub shared: Arc<Shared>,
    /// Sends requests.
    pub upstreams: Rc<Upstreams>,
    /// Counts and logs.
    pub recorder: Recorder,
    snapshot: RefCell<Arc<Snapshot>>,
    bound: watch::Sender<Vec<SocketAddr>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("version", &self.snapshot.borrow().version).finish_non_exhaustive()
    }
}

impl Worker {
    /// The configuration as it is now. To be taken once by a request.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Notes that connections are taken at an address.
    pub(crate) fn bound(&self, address: SocketAddr) {
        self.bound.send_modify(|bound| bound.push(address));
    }
}

/// Asked of a worker from another thread.
enum Question {
    UpstreamStats(std::sync::mpsc::Sender<Vec<ClusterStats>>),
}

/// A running worker.
pub struct WorkerHandle {
    thread: JoinHandle<()>,
    questions: mpsc::UnboundedSender<Question>,
    bound: watch::Receiver<Vec<SocketAddr>>,
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle").field("thread", &self.thread.thread().name()).finish_non_exhaustive()
    }
}

impl WorkerHandle {
    /// Starts a worker; it runs until the drain has ended.
    ///
    /// # Errors
    /// There is no thread or no runtime to be had.
    pub fn start(shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (questions, asked) = mpsc::unbounded_channel();
        let (bound, bound_receiver) = watch::channel(Vec::new());
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, run(shared, bound, asked));
        })?;
        Ok(Self { thread, questions, bound: bound_receiver })
    }

    /// Every address that connections have been taken at, in the order of binding. Changes with the configuration.
    #[must_use]
    pub fn bound(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.bound.clone()
    }

    /// For asking it from elsewhere, while it is joined or not.
    #[must_use]
    pub fn inquiry(&self) -> Inquiry {
        Inquiry(self.questions.clone())
    }

    /// Waits for its end. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a worker ended by a mistake of this proxy: please report it");
        }
    }
}

/// Asks a worker what it is doing, from any thread.
#[derive(Clone)]
pub struct Inquiry(mpsc::UnboundedSender<Question>);

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inquiry")
    }
}

impl Inquiry {
    /// What its pools look like; none when it has ended, or does not answer within a second. Blocks so long: workers
    /// answer between two requests.
    #[must_use]
    pub fn upstream_stats(&self) -> Option<Vec<ClusterStats>> {
        let (answer, answered) = std::sync::mpsc::channel();
        self.0.send(Question::UpstreamStats(answer)).ok()?;
        answered.recv_timeout(Duration::from_secs(1)).ok()
    }
}

async fn run(
    shared: Arc<Shared>,
    bound: watch::Sender<Vec<SocketAddr>>,
    mut asked: mpsc::UnboundedReceiver<Question>,
) {
    let mut changes = shared.discovery.changed.clone();
    changes.mark_unchanged();
    let first = shared.discovery.snapshot.load_full();
    let worker = Rc::new(Worker {
        upstreams: Upstreams::new(shared.upstream.clone()),
        recorder: (shared.recorder)(),
        snapshot: RefCell::new(first.clone()),
        bound,
        shared,
    });
    let mut listening = Some(worker.shared.listening.enter());
    let mut acceptors = Acceptors::default();
    apply(&worker, &mut acceptors, first);
    let drain = worker.shared.drain.clone();
    let mut may_change = true;
    loop {
        tokio::select! {
            () = drain.closing(), if listening.is_some() => {
                acceptors.close().await;
                listening = None;
            }
            changed = changes.changed(), if may_change && listening.is_some() => {
                // When nobody is left who could change it, it stays.
                may_change = changed.is_ok();
                let snapshot = worker.shared.discovery.snapshot.load_full();
                apply(&worker, &mut acceptors, snapshot);
            }
            Some(question) = asked.recv() => match question {
                Question::UpstreamStats(answer) => drop(answer.send(worker.upstreams.stats())),
            },
            () = drain.ended() => return,
        }
    }
}

/// Clusters are known before routes that name them, and routes before connections come for them.
fn apply(worker: &Rc<Worker>, acceptors: &mut Acceptors, snapshot: Arc<Snapshot>) {
    worker.upstreams.update(&snapshot);
    *worker.snapshot.borrow_mut() = snapshot.clone();
    acceptors.update(worker, &snapshot);
}
