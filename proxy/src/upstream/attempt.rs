//! One attempt: a connection to the chosen endpoint, the request on it, the head of the response.

use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, Version};
use tokio::time::Instant;
use weft_model::cluster::{Cluster, UpstreamHttp};

use super::Upstreams;
use super::cluster::ClusterState;
use super::connect::{ConnectError, Connected, tls_to};
use super::failure::{AttemptFailure, FailureKind};
use super::http2::{self, Http2Connection, StreamGuard};
use super::limits::{Bounded, LimitGuard, Limits};
use super::peer::X_WEFT_PEER;
use super::pool::{Connection, EndpointPool, Http1Handle};
use super::replay::Replay;
use super::translate;
use crate::balance::{EndpointState, Outcome};
use crate::body::Body;
use crate::error::Progress;
use crate::http1::{ClientConnection, ClientSettings, SendError, SendErrorKind};
use crate::proxy_protocol::{self, Ends};
use crate::tls::ApplicationProtocol;

/// How often an attempt takes another connection because a pooled one turned out closed by the upstream after
/// something was written. (One found closed before is simply replaced.)
const RESENDS: u32 = 2;

/// What an attempt needs.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) upstreams: &'a Upstreams,
    pub(super) cluster: &'a Rc<ClusterState>,
    pub(super) config: &'a Cluster,
    pub(super) endpoint: &'a Rc<EndpointState>,
    /// Those of the route's priority.
    pub(super) limits: &'a Rc<Limits>,
    pub(super) replay: Option<&'a Replay>,
    /// Whose connection it is.
    pub(super) client: Option<&'a Ends>,
}

/// The connection that an attempt used, as far as telemetry wants to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    pub(super) local: Option<std::net::SocketAddr>,
    pub(super) peer: Option<std::sync::Arc<weft_model::identity::WorkloadIdentity>>,
    /// Of a connection that ended HTTP: it is counted for as long as its tunnel lasts.
    pub(super) upgraded: Option<Rc<Http1Handle>>,
}

impl Used {
    fn of(connection: &Connection) -> Self {
        Self { local: connection.local, peer: connection.peer.clone(), upgraded: None }
    }
}

/// Which HTTP a request leaves by.
pub(super) fn speaks_http2(http: UpstreamHttp, downstream: Version, upgrade: bool) -> bool {
    match http {
        UpstreamHttp::Http1 => false,
        UpstreamHttp::Http2 => true,
        UpstreamHttp::SameAsDownstream => downstream == Version::HTTP_2 && !upgrade,
    }
}

impl Attempt<'_> {
    /// Sends the request; `request` keeps its head, and its body when that can be sent again.
    pub(super) async fn send(
        self,
        request: &mut Request<Body>,
        http2: bool,
    ) -> Result<(Response<Body>, Used), AttemptFailure> {
        if http2 {
            // Boxed: HTTP/1 is to keep a small future.
            Box::pin(self.http2(request)).await
        } else {
            self.http1(request).await
        }
    }

    async fn http1(self, request: &mut Request<Body>) -> Result<(Response<Body>, Used), AttemptFailure> {
        let pool = self.endpoint.pool();
        let mut resends = 0;
        loop {
            let now = Instant::now();
            // After a race with the upstream's closing only a new connection is sure to work.
            let pooled = if resends == 0 { pool.checkout(now) } else { None };
            let (connection, handle) = match pooled {
                Some(pooled) => pooled,
                None => Box::pin(self.open_http1(&pool)).await?,
            };
            self.introduce(request, &handle.connection);
            let error = match connection.send(request, Some(handle.clone())).await {
                Ok(response) => {
                    let mut used = Used::of(&handle.connection);
                    used.upgraded = matches!(response.body(), Body::Upgrade(_)).then_some(handle);
                    return Ok((response, used));
                }
                Err(error) => error,
            };
            if let Some(since) = handle.idle_since.get() {
                let closed = matches!(
                    error.kind,
                    SendErrorKind::NotReusable | SendErrorKind::ClosedBeforeResponse { reused: true }
                );
                if closed {
                    pool.learn(now.saturating_duration_since(since), std::time::Duration::ZERO, now);
                }
            }
            if !self.may_resend(&error, request.method()) || !self.restore(request, error.replayable) {
                return Err(http1_failure(error));
            }
            if !matches!(error.kind, SendErrorKind::NotReusable) {
                resends += 1;
                if resends > RESENDS {
                    return Err(http1_failure(error));
                }
            }
        }
    }

    /// Whether an attempt failed only because a pooled connection was closed by the upstream meanwhile, so that the
    /// request can be sent at once on another one.
    fn may_resend(self, error: &SendError, method: &Method) -> bool {
        match error.kind {
            SendErrorKind::NotReusable => true,
            SendErrorKind::ClosedBeforeResponse { reused: true } => {
                error.progress == Progress::Unprocessed || method.is_idempotent()
            }
            _ => false,
        }
    }

    /// Gives the request its body again, from the beginning.
    pub(super) fn restore(self, request: &mut Request<Body>, whole: bool) -> bool {
        if let Some(replay) = self.replay {
            // An earlier attempt may have read from its reader even if it gave it back.
            return match replay.reader() {
                Some(body) => {
                    *request.body_mut() = body;
                    true
                }
                None => false,
            };
        }
        whole || request.body().is_replayable()
    }

    async fn open_http1(
        self,
        pool: &Rc<EndpointPool>,
    ) -> Result<(ClientConnection, Rc<Http1Handle>), AttemptFailure> {
        let _pending = self.pending()?;
        let limit = loop {
            // One connection may always be: else an endpoint could never be reached again (as in Envoy).
            if self.limits.has_room(Bounded::Connections) || pool.connections() == 0 {
                break self.limits.enter_unbounded(Bounded::Connections);
            }
            pool.freed.notified().await;
            if let Some(pooled) = pool.checkout(Instant::now()) {
                return Ok(pooled);
            }
        };
        let (connected, connection) = self.connect(pool, limit, ApplicationProtocol::Http1).await?;
        let handle = Http1Handle::new(connection);
        Ok((ClientConnection::new(connected.io, ClientSettings::default()), handle))
    }

    fn pending(self) -> Result<LimitGuard, AttemptFailure> {
        self.limits.enter(Bounded::Pending).ok_or_else(|| {
            AttemptFailure::unprocessed(
                FailureKind::Overflow,
                "maxPendingRequests of its circuit breaker is reached",
            )
        })
    }

    async fn connect(
        self,
        pool: &Rc<EndpointPool>,
        limit: LimitGuard,
        protocol: ApplicationProtocol,
    ) -> Result<(Connected, Connection), ConnectError> {
        let endpoint = self.endpoint.endpoint();
        let tls = self.cluster.tls.borrow().clone();
        let settings = tls_to(&self.config.transport, &endpoint).map(|settings| (settings, &*tls));
        let connector = &self.upstreams.connector;
        let Cluster { connect_timeout, proxy_protocol, .. } = *self.config;
        let preamble = proxy_protocol.map(|version| proxy_protocol::header(version, self.client.copied()));
        let preamble = preamble.as_deref().unwrap_or_default();
        let connecting = connector.connect(endpoint.address, preamble, settings, protocol, connect_timeout);
        match connecting.await {
            Ok(connected) => {
                self.cluster.forgive(self.endpoint);
                let Cluster { idle_timeout, max_requests_per_connection, .. } = *self.config;
                // What was told of one client does not hold for the next.
                let most = proxy_protocol.map(|_| 1).or(max_requests_per_connection);
                let connection = Connection::new(pool, &connected, limit, idle_timeout, most);
                Ok((connected, connection))
            }
            Err(error) => {
                self.cluster.report(self.endpoint, Outcome::ConnectFailed);
                Err(error)
            }
        }
    }

    async fn http2(self, request: &mut Request<Body>) -> Result<(Response<Body>, Used), AttemptFailure> {
        let guard = self.http2_stream().await?;
        self.introduce(request, guard.connection());
        let Some(head) = translate::http2_head(request) else {
            return Err(AttemptFailure::unprocessed(
                FailureKind::Internal,
                "it has no valid Host, which HTTP/2 needs as :authority",
            ));
        };
        let used = Used::of(guard.connection());
        let body = request.body_mut().take_to_send();
        http2::send(guard, head, body).await.map(|response| (response, used))
    }

    /// A place on a connection that takes requests; makes the connection when there is none.
    async fn http2_stream(self) -> Result<StreamGuard, AttemptFailure> {
        let pool = self.endpoint.pool();
        let mut pending = None;
        loop {
            if let Some(connection) = self.usable_http2(&pool) {
                return Ok(connection.enter());
            }
            if pending.is_none() {
                pending = Some(self.pending()?);
            }
            if !pool.http2_connecting.get() {
                let connection = self.open_http2(&pool).await?;
                return Ok(connection.enter());
            }
            let failures = pool.http2_failure.borrow().0;
            pool.http2_connected.notified().await;
            let failed = match &*pool.http2_failure.borrow() {
                (count, Some(error)) if *count > failures => Some(error.clone()),
                _ => None,
            };
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
    }

    /// One with room; when none has and no more may be made, the one with the least to do, where the request waits.
    fn usable_http2(self, pool: &EndpointPool) -> Option<Rc<Http2Connection>> {
        let usable: Vec<_> = {
            let connections = pool.http2.borrow();
            if let Some(first) = connections.first().filter(|first| first.has_room() && first.is_usable()) {
                return Some(first.clone());
            }
            connections.iter().filter(|connection| connection.is_usable()).cloned().collect()
        };
        pool.http2.borrow_mut().retain(|connection| usable.iter().any(|kept| Rc::ptr_eq(kept, connection)));
        if let Some(roomy) = usable.iter().find(|connection| connection.has_room()) {
            return Some(roomy.clone());
        }
        if self.limits.has_room(Bounded::Connections) {
            return None;
        }
        usable.into_iter().min_by_key(|connection| connection.open_streams())
    }

    async fn open_http2(self, pool: &Rc<EndpointPool>) -> Result<Rc<Http2Connection>, AttemptFailure> {
        pool.http2_connecting.set(true);
        let connecting = Connecting(pool.clone());
        let limit = self.limits.enter_unbounded(Bounded::Connections);
        let made = match self.connect(pool, limit, ApplicationProtocol::Http2).await {
            Ok((connected, connection)) => Http2Connection::handshake(connected.io, connection)
                .await
                .map_err(|error| ConnectError::Failed(format!("HTTP/2 handshake: {error}").into())),
            Err(error) => Err(error),
        };
        match made {
            Ok(connection) => {
                pool.http2.borrow_mut().push(connection.clone());
                drop(connecting);
                Ok(connection)
            }
            Err(error) => {
                {
                    let mut failure = pool.http2_failure.borrow_mut();
                    *failure = (failure.0 + 1, Some(error.clone()));
                }
                drop(connecting);
                Err(error.into())
            }
        }
    }

    /// The first request of a connection to another sidecar says who we are.
    fn introduce(self, request: &mut Request<Body>, connection: &Connection) {
        match &self.upstreams.introduction {
            Some(introduction) if connection.peer.is_some() && !connection.introduced.replace(true) => {
                request.headers_mut().insert(X_WEFT_PEER, HeaderValue::clone(introduction));
            }
            _ => {
                request.headers_mut().remove(X_WEFT_PEER);
            }
        }
    }
}

/// An HTTP/2 connection is being made; whoever waits for it is woken when it is, is not, or is given up.
struct Connecting(Rc<EndpointPool>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.http2_connecting.set(false);
        self.0.http2_connected.notify_waiters();
    }
}

fn http1_failure(error: SendError) -> AttemptFailure {
    use SendErrorKind as K;
    let kind = match &error.kind {
        K::RequestBody(body) => return AttemptFailure::of_request_body(body),
        K::NotReusable | K::ClosedBeforeResponse { .. } | K::ClosedInResponse | K::Io(_) => {
            FailureKind::Closed
        }
        K::Refused(_) => FailureKind::Protocol,
        K::RequestLength => FailureKind::Internal,
    };
    let cause = match &error.kind {
        // A server that refuses our certificate in TLS 1.3 says so only now.
        K::Io(io) => {
            crate::tls::TlsError::from_io(io).map_or_else(|| error.to_string(), |tls| tls.to_string())
        }
        K::ClosedBeforeResponse { .. } => String::new(),
        _ => error.to_string(),
    };
    AttemptFailure { kind, progress: error.progress, cause }
}
