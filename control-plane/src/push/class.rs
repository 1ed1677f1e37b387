//! Classes of proxies that see the same: compiled and encoded once, held while one of them is connected.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tonic::Status;

use super::compiler::{Compiler, Revision};
use super::snapshot::Snapshot;

/// One class.
#[derive(Debug)]
pub(crate) struct Class<S> {
    scope: S,
    id: u64,
    /// One compile at a time; the lanes of other classes do not wait for it.
    building: tokio::sync::Mutex<()>,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
}

impl<S> Class<S> {
    /// What its proxies see, from now on. Latest wins: a slow reader skips what was superseded.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshot.subscribe()
    }

    fn current(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.borrow().clone()
    }

    fn publish(&self, next: Snapshot) {
        self.snapshot.send_if_modified(|current| {
            let news = current.as_ref().is_none_or(|current| next.is_news_after(current));
            *current = Some(Arc::new(next));
            news
        });
    }
}

type ByScope<S> = HashMap<S, Weak<Class<S>>>;

/// The classes of the connected proxies.
#[derive(Debug)]
pub(crate) struct Classes<C: Compiler> {
    compiler: Arc<C>,
    live: Mutex<ByScope<C::Scope>>,
    ids: AtomicU64,
}

impl<C: Compiler> Classes<C> {
    pub(crate) fn new(compiler: Arc<C>) -> Self {
        Self { compiler, live: Mutex::default(), ids: AtomicU64::new(1) }
    }

    pub(crate) fn compiler(&self) -> &C {
        &self.compiler
    }

    /// The class of a scope, with its snapshot, compiled now if it is the first of its kind.
    pub(crate) async fn join(
        &self,
        scope: C::Scope,
    ) -> Result<(Arc<Class<C::Scope>>, Arc<Snapshot>), Status> {
        let class = self.find(scope);
        if let Some(snapshot) = class.current() {
            return Ok((class, snapshot));
        }
        let building = class.building.lock().await;
        if let Some(snapshot) = class.current() {
            drop(building);
            return Ok((class, snapshot));
        }
        let (compiler, owned) = (self.compiler.clone(), class.clone());
        let compiled = tokio::task::spawn_blocking(move || compiler.resources(&owned.scope)).await;
        let resources = compiled.map_err(|error| {
            tracing::error!(%error, "compiling for a new class of proxies failed");
            Status::internal(
                "the configuration of this proxy could not be compiled; see the control plane's log",
            )
        })?;
        let snapshot = Arc::new(Snapshot::first(class.id, resources));
        class.snapshot.send_replace(Some(snapshot.clone()));
        drop(building);
        Ok((class, snapshot))
    }

    fn find(&self, scope: C::Scope) -> Arc<Class<C::Scope>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = live.get(&scope).and_then(Weak::upgrade) {
            return class;
        }
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (building, snapshot) = (tokio::sync::Mutex::new(()), watch::Sender::new(None));
        let class = Arc::new(Class { scope: scope.clone(), id, building, snapshot });
        live.insert(scope, Arc::downgrade(&class));
        class
    }

    fn live(&self) -> Vec<Arc<Class<C::Scope>>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|scope, class| {
            let is_live = class.strong_count() > 0;
            if !is_live {
                self.compiler.forget(scope);
            }
            is_live
        });
        live.values().filter_map(Weak::upgrade).collect()
    }

    /// Compiles every class anew. One that cannot be compiled keeps what it has.
    pub(crate) async fn refresh_configuration(&self) {
        for class in self.live() {
            let _building = class.building.lock().await;
            let Some(current) = class.current() else { continue };
            let (compiler, owned) = (self.compiler.clone(), class.clone());
            match tokio::task::spawn_blocking(move || {
                let resources = compiler.resources(&owned.scope);
                current.with_resources(&resources)
            })
            .await
            {
                Ok(next) => class.publish(next),
                Err(error) => tracing::error!(%error, "compiling failed; its proxies keep their last good"),
            }
        }
    }

    /// Reads the endpoints of every class anew, where they changed.
    pub(crate) async fn refresh_endpoints(&self, now: Revision) {
        for class in self.live() {
            let _building = class.building.lock().await;
            let Some(current) = class.current() else { continue };
            let (compiler, owned) = (self.compiler.clone(), class.clone());
            match tokio::task::spawn_blocking(move || {
                let stale = current.endpoints < now.endpoints;
                let fresh = stale.then(|| compiler.endpoints(&owned.scope));
                current.with_endpoints(fresh, now)
            })
            .await
            {
                Ok(next) => class.publish(next),
                Err(error) => {
                    tracing::error!(%error, "reading endpoints failed; proxies keep their last good")
                }
            }
        }
    }
}
