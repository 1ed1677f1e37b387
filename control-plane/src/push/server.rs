//! Ties it together: the lanes that follow the world, and the proxies that are connected.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::class::Classes;
use super::compiler::{Compiler, Revision};
use super::hello::ProxyHello;
use super::service::{AggregatedDiscovery, PeerRequirement};
use super::settings::PushSettings;
use super::tracker::Tracker;

/// Events kept for a listener that is slow to read them; it is told when it missed some.
const PRESENCE: usize = 1024;

/// A proxy came or went.
#[derive(Clone, Debug)]
pub enum Presence {
    /// A stream of this proxy opened.
    Connected(Arc<ProxyHello>),
    /// A stream of this proxy ended.
    Disconnected {
        /// The proxy.
        hello: Arc<ProxyHello>,
        /// Streams that it still has: while there are any it is not gone.
        others: usize,
    },
}

/// The xDS server.
pub struct Push<C: Compiler> {
    pub(super) classes: Classes<C>,
    pub(super) settings: PushSettings,
    pub(super) tracker: Arc<Tracker>,
    pub(super) presence: broadcast::Sender<Presence>,
    pub(super) closing: watch::Sender<bool>,
    revisions: watch::Receiver<Revision>,
}

impl<C: Compiler> fmt::Debug for Push<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<C: Compiler> Push<C> {
    /// A server that pushes what the compiler makes of the world. Pushes changes once [`run`](Self::run) runs.
    #[must_use]
    pub fn new(compiler: Arc<C>, revisions: watch::Receiver<Revision>, settings: PushSettings) -> Arc<Self> {
        Arc::new(Self {
            classes: Classes::new(compiler),
            settings,
            tracker: Arc::new(Tracker::default()),
            presence: broadcast::Sender::new(PRESENCE),
            closing: watch::Sender::new(false),
            revisions,
        })
    }

    /// Follows the world, in two lanes that do not wait for each other, until its sender is gone.
    pub async fn run(&self) {
        tokio::join!(self.run_configuration(), self.run_endpoints());
    }

    async fn run_configuration(&self) {
        let (mut revisions, mut seen) = (self.revisions.clone(), 0);
        let lane = |revision: &Revision| revision.configuration;
        while let Some(now) = self.settings.configuration.settled(&mut revisions, lane, seen).await {
            seen = now.configuration;
            self.classes.refresh_configuration().await;
        }
    }

    /// Also carries forward what changed nothing, so that a rollout of it ends.
    async fn run_endpoints(&self) {
        let (mut revisions, mut seen) = (self.revisions.clone(), 0);
        let lane = |revision: &Revision| revision.number;
        while let Some(now) = self.settings.endpoints.settled(&mut revisions, lane, seen).await {
            seen = now.number;
            self.classes.refresh_endpoints(now).await;
        }
    }

    /// The gRPC service, for a listener whose peers must, or need not, prove who they are.
    #[must_use]
    pub fn service(self: &Arc<Self>, requirement: PeerRequirement) -> AggregatedDiscovery<C> {
        AggregatedDiscovery::new(self.clone(), requirement)
    }

    /// What it compiles with.
    #[must_use]
    pub fn compiler(&self) -> &C {
        self.classes.compiler()
    }

    /// Who has acknowledged what.
    #[must_use]
    pub fn tracker(&self) -> &Arc<Tracker> {
        &self.tracker
    }

    /// Proxies coming and going, from now on. Read [`connected`](Self::connected) after subscribing.
    #[must_use]
    pub fn presence(&self) -> broadcast::Receiver<Presence> {
        self.presence.subscribe()
    }

    /// The proxies that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<Arc<ProxyHello>> {
        self.tracker.connected()
    }

    /// Ends every stream with UNAVAILABLE, which makes proxies look for another control plane, and takes no new ones.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Ready when [`close`](Self::close) was called.
    pub async fn closed(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}
