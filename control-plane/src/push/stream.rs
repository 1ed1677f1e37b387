//! One stream's task: carries requests and snapshots into the [`Session`], and its responses to the connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use weft_proto::xds::core::Node;
use weft_proto::xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::class::Class;
use super::compiler::Compiler;
use super::hello::ProxyHello;
use super::server::{Presence, Push};
use super::service::PeerRequirement;
use super::session::Session;
use super::snapshot::Snapshot;
use super::tracker::Connection;
use super::wire::{Protocol, Response};

/// How long a client that is being shown out may take to read why.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the two protocols do differently at the edge of a stream.
pub trait DiscoveryProtocol: Send + 'static {
    /// The request message.
    type Request: Message + Default + Send + 'static;
    /// Its name.
    const PROTOCOL: Protocol;
    /// Takes the node out of a request.
    fn node(request: &mut Self::Request) -> Option<Node>;
    /// Hands a request to the session.
    ///
    /// # Errors
    /// When the stream must be closed.
    fn handle(session: &mut Session, request: Self::Request, now: Instant) -> Result<(), Status>;
}

impl DiscoveryProtocol for DeltaDiscoveryRequest {
    type Request = Self;
    const PROTOCOL: Protocol = Protocol::Delta;

    fn node(request: &mut Self) -> Option<Node> {
        request.node.take()
    }

    fn handle(session: &mut Session, request: Self, now: Instant) -> Result<(), Status> {
        session.on_delta(request, now)
    }
}

impl DiscoveryProtocol for DiscoveryRequest {
    type Request = Self;
    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;

    fn node(request: &mut Self) -> Option<Node> {
        request.node.take()
    }

    fn handle(session: &mut Session, request: Self, now: Instant) -> Result<(), Status> {
        session.on_sotw(request, now)
    }
}

type Outbound = mpsc::Sender<Result<Response, Status>>;

/// Starts the task of a new stream. One response at a time is handed to the transport: what follows is made when there
/// is room for it.
pub(super) fn open<C: Compiler, P: DiscoveryProtocol>(
    push: Arc<Push<C>>,
    requirement: PeerRequirement,
    request: Request<Streaming<P::Request>>,
) -> Result<ReceiverStream<Result<Response, Status>>, Status> {
    let identity = crate::authority::peer_identity(&request).map(|peer| peer.0);
    if identity.is_none() && requirement == PeerRequirement::Identity {
        let message =
            "this listener serves only peers with a workload certificate: obtain one and connect with it";
        return Err(Status::unauthenticated(message));
    }
    let peer = request.remote_addr();
    let address = crate::authority::peer_address(&request).or(peer);
    let who = identity.as_ref().map(ToString::to_string).unwrap_or_default();
    let (outbound, responses) = mpsc::channel(1);
    let mut inbound = request.into_inner();
    tokio::spawn(async move {
        let greeting = async {
            let first = timeout(push.settings.hello_timeout, inbound.next()).await;
            let mut first = match first {
                Err(_) => return Err(Status::deadline_exceeded("no request came on the stream")),
                Ok(None) => return Ok(None),
                Ok(Some(first)) => first?,
            };
            let hello = ProxyHello::read(P::node(&mut first), identity, peer)?;
            Ok(Some((hello, first)))
        };
        let ended = match greeting.await {
            Ok(Some((hello, first))) => serve::<C, P>(&push, hello, first, &mut inbound, &outbound).await,
            Ok(None) => Ok(()),
            Err(status) => Err(status),
        };
        if let Err(status) = ended {
            // A connection that breaks is how every sidecar leaves; what this side refuses is worth a look.
            if status.code() == tonic::Code::Unknown {
                tracing::debug!(peer = ?address, identity = who, message = status.message(), "a discovery stream has broken");
            } else {
                tracing::info!(peer = ?address, identity = who, code = ?status.code(), message = status.message(), "a discovery stream is closed");
            }
            let _ = timeout(FAREWELL, outbound.send(Err(status))).await;
        }
    });
    Ok(ReceiverStream::new(responses))
}

/// From the first request to the end of the stream.
async fn serve<C: Compiler, P: DiscoveryProtocol>(
    push: &Push<C>,
    hello: ProxyHello,
    first: P::Request,
    inbound: &mut Streaming<P::Request>,
    outbound: &Outbound,
) -> Result<(), Status> {
    let scope = scope(push, &hello)?;
    let (class, snapshot) = push.classes.join(scope.clone()).await?;
    let mut view = View { snapshots: class.subscribe(), class, scope, configuration: snapshot.configuration };
    let session = Session::new(P::PROTOCOL, snapshot, &push.settings, Instant::now());
    let connection = push.tracker.connect(Arc::new(hello), Mutex::new(session));
    let _presence = Announced::new(push, &connection);
    let mut closing = push.closing.subscribe();

    handle::<P>(push, &connection, first)?;
    let mut permit = None;
    loop {
        if let Some(room) = permit.take() {
            match with(&connection, |session| session.next_response(Instant::now())) {
                Some(response) => {
                    mpsc::OwnedPermit::send(room, Ok(response));
                    continue;
                }
                None => permit = Some(room),
            }
        }
        let deadline = with(&connection, |session| session.deadline());
        tokio::select! {
            request = inbound.next() => match request {
                Some(request) => handle::<P>(push, &connection, request?)?,
                None => return Ok(()),
            },
            changed = view.snapshots.changed() => {
                changed.map_err(|_| Status::internal("the configuration's source is gone"))?;
                let snapshot = view.latest(push, &connection.hello).await?;
                with(&connection, |session| session.see(snapshot));
                push.tracker.moved();
            }
            room = outbound.clone().reserve_owned(), if permit.is_none() => match room {
                Ok(room) => permit = Some(room),
                Err(_) => return Ok(()),
            },
            () = outbound.closed() => return Ok(()),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            () = closed(&mut closing) => {
                return Err(Status::unavailable("the control plane is shutting down; reconnect"));
            }
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

fn handle<P: DiscoveryProtocol>(
    push: &Push<impl Compiler>,
    connection: &Connection,
    request: P::Request,
) -> Result<(), Status> {
    let handled = with(connection, |session| P::handle(session, request, Instant::now()));
    push.tracker.moved();
    handled
}

fn with<T>(connection: &Connection, act: impl FnOnce(&mut Session) -> T) -> T {
    act(&mut connection.session.lock().unwrap_or_else(PoisonError::into_inner))
}

fn scope<C: Compiler>(push: &Push<C>, hello: &ProxyHello) -> Result<C::Scope, Status> {
    push.classes.compiler().scope(hello).map_err(|refused| Status::permission_denied(refused.0))
}

/// The class whose snapshots a stream follows.
struct View<S> {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    class: Arc<Class<S>>,
    scope: S,
    configuration: u64,
}

impl<S: Clone + Eq> View<S> {
    /// The newest snapshot. After a change of configuration the proxy may belong to another class.
    async fn latest<C: Compiler<Scope = S>>(
        &mut self,
        push: &Push<C>,
        hello: &ProxyHello,
    ) -> Result<Arc<Snapshot>, Status> {
        let newest = self.snapshots.borrow_and_update().clone();
        let newest = newest.ok_or_else(|| Status::internal("a class lost its configuration"))?;
        if newest.configuration == self.configuration {
            return Ok(newest);
        }
        self.configuration = newest.configuration;
        let scope = scope(push, hello)?;
        if scope == self.scope {
            return Ok(newest);
        }
        let (class, snapshot) = push.classes.join(scope.clone()).await?;
        (self.snapshots, self.class, self.scope) = (class.subscribe(), class, scope);
        Ok(snapshot)
    }
}

/// Announces a proxy while it lives, however the stream ends.
struct Announced<'a, C: Compiler> {
    push: &'a Push<C>,
    connection: &'a Arc<Connection>,
}

impl<'a, C: Compiler> Announced<'a, C> {
    fn new(push: &'a Push<C>, connection: &'a Arc<Connection>) -> Self {
        tracing::info!(proxy = connection.hello.id.short(), "a proxy connected");
        let _ = push.presence.send(Presence::Connected(connection.hello.clone()));
        Self { push, connection }
    }
}

impl<C: Compiler> Drop for Announced<'_, C> {
    fn drop(&mut self) {
        let others = self.push.tracker.disconnect(self.connection);
        let hello = self.connection.hello.clone();
        tracing::info!(proxy = hello.id.short(), others, "a proxy disconnected");
        let _ = self.push.presence.send(Presence::Disconnected { hello, others });
    }
}
