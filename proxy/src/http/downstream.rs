//! One client's HTTP connection: what its requests have in common.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Notify;
use weft_model::filter::HttpFilter;
use weft_model::filter::local_rate_limit::{BucketState, LocalRateLimit};
use weft_model::listener::{HttpConnection, Listener, NetworkFilter};
use weft_model::route::RouteTable;
use weft_model::snapshot::Snapshot;

use crate::listener::chain::ChosenChain;
use crate::telemetry::record::ConnectionRecord;
use crate::worker::Worker;

/// One client's HTTP connection.
#[derive(Debug)]
pub struct Downstream {
    /// Whose thread it lives on.
    pub worker: Rc<Worker>,
    /// `http` or `https`: what a client that wrote no scheme has used.
    pub scheme: &'static str,
    /// What the workload is told of who called; none when nothing is proven or nothing is to be told.
    pub client_certificate: Option<HeaderValue>,
    /// Within a tunnel that `CONNECT` opened: where to. Requests inside go nowhere else.
    pub tunnel: Option<Arc<str>>,
    record: RefCell<Rc<ConnectionRecord>>,
    chain: RefCell<ChosenChain>,
    routes: RefCell<Option<CachedRoutes>>,
    buckets: RefCell<Vec<(Arc<LocalRateLimit>, BucketState)>>,
    retired: Cell<bool>,
    retire: Notify,
}

#[derive(Debug)]
struct CachedRoutes {
    snapshot: Arc<Snapshot>,
    table: Option<Arc<RouteTable>>,
}

impl Downstream {
    /// A connection that `chain` serves.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        chain: ChosenChain,
        record: ConnectionRecord,
        scheme: &'static str,
        client_certificate: Option<HeaderValue>,
    ) -> Self {
        Self {
            worker,
            scheme,
            client_certificate,
            tunnel: None,
            record: RefCell::new(Rc::new(record)),
            chain: RefCell::new(chain),
            routes: RefCell::new(None),
            buckets: RefCell::default(),
            retired: Cell::new(false),
            retire: Notify::new(),
        }
    }

    /// The same client, inside of a tunnel to `authority`.
    #[must_use]
    pub fn within_tunnel(&self, authority: &str) -> Self {
        let record = self.record().as_ref().clone();
        let chain = self.chain.borrow().clone();
        let inside =
            Self::new(self.worker.clone(), chain, record, self.scheme, self.client_certificate.clone());
        Self { tunnel: Some(authority.into()), ..inside }
    }

    /// For telemetry.
    #[must_use]
    pub fn record(&self) -> Rc<ConnectionRecord> {
        self.record.borrow().clone()
    }

    /// Notes more of the client; for requests from now on.
    pub fn amend_record(&self, amend: impl FnOnce(&mut ConnectionRecord)) {
        amend(Rc::make_mut(&mut self.record.borrow_mut()));
    }

    /// Looks at the settings of its HTTP filter.
    pub fn with_settings<T>(&self, look: impl FnOnce(&HttpConnection) -> T) -> Option<T> {
        match &self.chain.borrow().chain()?.filter {
            NetworkFilter::Http(http) => Some(look(http)),
            NetworkFilter::Tcp(_) => None,
        }
    }

    /// What its requests pass through.
    #[must_use]
    pub fn filters(&self) -> Arc<[HttpFilter]> {
        self.with_settings(|http| http.filters.clone()).unwrap_or_else(|| [].into())
    }

    /// The connection's own bucket of a rate limit.
    #[must_use]
    pub fn bucket(&self, limit: &Arc<LocalRateLimit>) -> BucketState {
        let mut buckets = self.buckets.borrow_mut();
        if let Some((_, state)) = buckets.iter().find(|(known, _)| Arc::ptr_eq(known, limit)) {
            return state.clone();
        }
        // Those of settings that are gone.
        buckets.retain(|(known, _)| Arc::strong_count(known) > 1);
        buckets.push((limit.clone(), BucketState::default()));
        buckets.last().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    /// Name of its listener, for people.
    #[must_use]
    pub fn listener(&self) -> Arc<Listener> {
        self.chain.borrow().listener().clone()
    }

    /// Whether the client has chosen an endpoint by its address.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.chain.borrow().listener().headless
    }

    /// The routes in the newest snapshot; none when they are not known. When the snapshot has no such filter chain any
    /// more the connection retires: it serves this request by the chain it has, and asks the client to come again.
    #[must_use]
    pub fn routes(&self) -> Option<Arc<RouteTable>> {
        let newest = self.worker.snapshot();
        if let Some(cached) = &*self.routes.borrow()
            && Arc::ptr_eq(&cached.snapshot, &newest)
        {
            return cached.table.clone();
        }
        let same = self.chain.borrow().in_snapshot(&newest);
        match same {
            Some(chain) => *self.chain.borrow_mut() = chain,
            None => self.retire(),
        }
        let table = self.with_settings(|http| newest.routes_of(&http.routes).cloned()).flatten();
        *self.routes.borrow_mut() = Some(CachedRoutes { snapshot: newest, table: table.clone() });
        table
    }

    /// Asks the client to come again on another connection.
    pub fn retire(&self) {
        self.retired.set(true);
        self.retire.notify_one();
    }

    /// Whether the client should come again on another connection.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Ready when the connection should end, for its own reason or the process's.
    pub async fn ending(&self) {
        if self.retired.get() {
            return;
        }
        // In order: drawing which to look at first costs, and either will do.
        tokio::select! {
            biased;
            () = self.worker.shared.drain.draining() => {}
            () = self.retire.notified() => {}
        }
    }
}
