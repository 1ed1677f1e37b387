//! The attempts of one request.
//!
//! What may be tried again is decided by `retry`; how much of it, by the budget and the circuit breaker. A route
//! without a retry policy still gets what is always right: a failed connection is tried once more at *another*
//! endpoint, and a request that its upstream provably has not looked at is sent once more.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};
use weft_model::cluster::Cluster;
use weft_model::policy::RetryPolicy;

use super::attempt::{Attempt, Used, speaks_http2};
use super::cluster::ClusterState;
use super::copy::{self, CopyError};
use super::failure::{AttemptFailure, FailureKind, no_cluster};
use super::limits::{Bounded, LimitGuard, Limits};
use super::peer::{X_ENVOY_ATTEMPT_COUNT, X_WEFT_PEER, X_WEFT_UNPROCESSED};
use super::replay::Replay;
use super::response::{BodyBounds, ExchangeEnd, ResponseBody};
use super::retry::{self, Ended};
use super::{Destination, Exchange, Failure, Upstreams, translate};
use crate::balance::{ActiveGuard, EndpointState, Outcome, Pick};
use crate::body::Body;
use crate::error::{ErrorSource, Progress, ResponseFlag, ResponseFlags};
use crate::http1::{strip_request, strip_response, upgrade_requested};
use crate::telemetry::record::UpstreamRecord;

/// As many attempts at most as are not counted. With the back-off between them they take a second or two: longer than
/// endpoints need to arrive.
const FREE_ATTEMPTS: u32 = 16;
/// gRPC's status code (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const UNAVAILABLE: u32 = 14;

impl Upstreams {
    /// Sends a request to an endpoint of a cluster and waits for the head of the response. Takes the request's body;
    /// its headers become those that were sent. Dropping the future or the response's body gives the request up.
    ///
    /// # Errors
    /// [`Failure`] has what the client is to be told, when no attempt got a response.
    pub async fn send(
        &self,
        request: &mut Request<Body>,
        destination: &Destination<'_>,
    ) -> Result<Exchange, Failure> {
        let Some(cluster) = self.cluster(destination.cluster) else {
            return Err(Failure::of(no_cluster(destination.cluster, destination.provenance), None));
        };
        let call = Call::new(self, cluster, destination, request);
        if let Some(category) = call.cluster.drops() {
            let cause = format!("its load assignment drops requests of `{category}`");
            return Err(call.failure(AttemptFailure::unprocessed(FailureKind::Dropped, cause), None));
        }
        let Some(requests) = call.limits().enter(Bounded::Requests) else {
            let cause = "maxRequests of its circuit breaker is reached";
            return Err(call.failure(AttemptFailure::unprocessed(FailureKind::Overflow, cause), None));
        };
        call.cluster.note_traffic();
        call.cluster.budget.deposit();
        call.run(request, requests).await
    }
}

/// A request on its way.
struct Call<'a> {
    upstreams: &'a Upstreams,
    cluster: Rc<ClusterState>,
    config: Arc<Cluster>,
    destination: &'a Destination<'a>,
    policy: Option<&'a RetryPolicy>,
    /// End of the request's time.
    deadline: Option<Instant>,
    http2: bool,
    upgrade: bool,
    /// The attempt of whoever calls us, from 1.
    attempt_of_caller: u32,
    /// Ours, from 1.
    attempts: u32,
    /// Those that failed and count against the policy's retries.
    counted: u32,
    /// Where the attempt of now goes.
    current: Option<SocketAddr>,
    /// Where earlier ones went.
    tried: Vec<SocketAddr>,
    replay: Option<Replay>,
    flags: ResponseFlags,
    /// The policy's conditions on requests let this one be tried again.
    retriable: bool,
    /// How long the last answer asked to wait.
    asked_to_wait: Option<Duration>,
}

/// One attempt that got the head of a response.
struct Answered {
    response: Response<Body>,
    endpoint: Rc<EndpointState>,
    active: ActiveGuard,
    used: Used,
    service_time: Duration,
}

/// What is counted while a response still comes.
type Guards = (LimitGuard, ActiveGuard, Option<LimitGuard>);

/// What becomes of an attempt.
enum Next {
    Final,
    /// Another one, which holds this while it is under way.
    Again(Option<LimitGuard>),
}

impl<'a> Call<'a> {
    fn new(
        upstreams: &'a Upstreams,
        cluster: Rc<ClusterState>,
        destination: &'a Destination<'a>,
        request: &mut Request<Body>,
    ) -> Self {
        let config = cluster.config();
        let upgrade = upgrade_requested(request.headers()).is_some() || request.method() == Method::CONNECT;
        let http2 = speaks_http2(config.http, destination.downstream, upgrade);
        let policy = destination.forward.and_then(|forward| forward.retry.as_ref());
        let retriable = policy.is_none_or(|policy| retry::is_retriable(policy, request));
        let attempt_of_caller = prepare(request, upgrade && !http2, http2);
        let replay =
            (!request.body().is_replayable()).then(|| Replay::new(request.body_mut().take_to_send()));
        let timeout = destination.forward.and_then(|forward| forward.timeout);
        Self {
            upstreams,
            cluster,
            config,
            destination,
            policy,
            retriable,
            asked_to_wait: None,
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            http2,
            upgrade,
            attempt_of_caller,
            attempts: 0,
            counted: 0,
            current: None,
            tried: Vec::new(),
            replay,
            flags: ResponseFlags::default(),
        }
    }

    async fn run(mut self, request: &mut Request<Body>, requests: LimitGuard) -> Result<Exchange, Failure> {
        let mut retrying: Option<LimitGuard> = None;
        loop {
            self.attempts += 1;
            let avoid = self.policy.is_none_or(|policy| policy.avoid_tried_endpoints || self.attempts == 1);
            let tried: &[SocketAddr] = if avoid { &self.tried } else { &[] };
            let now = Instant::now();
            let preference = self.destination.preference;
            let pick = Pick {
                tried,
                hash: preference.hash,
                metadata_match: preference.metadata_match,
                retry: self.policy.filter(|_| self.attempts > 1),
                attempts: self.attempts - 1,
            };
            let chosen = self.cluster.choose(&pick, self.destination.original_dst, now).await;
            let endpoint = match chosen {
                Ok(endpoint) => endpoint,
                Err(failure) => return Err(self.failure(failure, None)),
            };
            self.current = Some(endpoint.address());
            match self.attempt(request, &endpoint).await {
                Ok(answered) => match self.after_answer(request.method(), &answered) {
                    Next::Again(guard) => {
                        drop(answered);
                        retrying = guard;
                    }
                    Next::Final => {
                        if retrying.is_some() && answered.response.status().as_u16() < 500 {
                            self.cluster.budget.refund();
                        }
                        return Ok(self.answer(answered, requests, retrying));
                    }
                },
                Err(failure) => {
                    let next = self.after_failure(request.method(), &failure, &endpoint);
                    let Next::Again(guard) = next else {
                        return Err(self.failure(failure, Some(&endpoint)));
                    };
                    retrying = guard;
                    if !self.can_repeat(request, &endpoint) {
                        return Err(self.failure(failure, Some(&endpoint)));
                    }
                    self.tried.push(endpoint.address());
                    if !self.back_off(retrying.is_some()).await {
                        return Err(self.failure(self.timed_out(), Some(&endpoint)));
                    }
                    continue;
                }
            }
            self.tried.push(endpoint.address());
            if !self.can_repeat(request, &endpoint) {
                // Cannot be: what cannot be repeated was not asked to be.
                let failure = AttemptFailure::maybe_processed(FailureKind::Internal, "its content is gone");
                return Err(self.failure(failure, Some(&endpoint)));
            }
            if !self.back_off(retrying.is_some()).await {
                return Err(self.failure(self.timed_out(), Some(&endpoint)));
            }
        }
    }

    async fn attempt(
        &self,
        request: &mut Request<Body>,
        endpoint: &Rc<EndpointState>,
    ) -> Result<Answered, AttemptFailure> {
        if self.attempts == 1
            && let Some(body) = self.replay.as_ref().and_then(Replay::reader)
        {
            *request.body_mut() = body;
        }
        let count = match self.attempt_of_caller - 1 + self.attempts {
            1 => HeaderValue::from_static("1"),
            more => HeaderValue::from(more),
        };
        request.headers_mut().insert(X_ENVOY_ATTEMPT_COUNT, count);
        let active = endpoint.enter();
        let began = Instant::now();
        let sending = Attempt {
            upstreams: self.upstreams,
            cluster: &self.cluster,
            config: &self.config,
            endpoint,
            limits: self.limits(),
            replay: self.replay.as_ref(),
            client: self.destination.client.as_ref(),
        }
        .send(request, self.http2);
        let (response, used) = match self.attempt_deadline(began) {
            None => sending.await?,
            Some((deadline, kind)) => match timeout_at(deadline, pin!(sending)).await {
                Ok(result) => result?,
                Err(_) => return Err(AttemptFailure::maybe_processed(kind, "")),
            },
        };
        let service_time = began.elapsed();
        self.cluster.observe(endpoint, service_time);
        Ok(Answered { response, endpoint: endpoint.clone(), active, used, service_time })
    }

    /// The earliest bound on an attempt, and what it means when it is reached.
    fn attempt_deadline(&self, began: Instant) -> Option<(Instant, FailureKind)> {
        let per_try = self.policy.and_then(|policy| policy.per_try_timeout);
        let per_try_idle = self.policy.and_then(|policy| policy.per_try_idle_timeout);
        let idle = self.destination.forward.and_then(|forward| forward.idle_timeout);
        [
            self.deadline.map(|deadline| (deadline, FailureKind::Timeout)),
            per_try.map(|timeout| (began + timeout, FailureKind::PerTryTimeout)),
            per_try_idle
                .filter(|_| self.replay.is_none())
                .map(|idle| (began + idle, FailureKind::PerTryTimeout)),
            // Only while nothing of the request's body can still be moving.
            idle.filter(|_| self.replay.is_none()).map(|idle| (began + idle, FailureKind::Idle)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(deadline, _)| *deadline)
    }

    /// Judges a response: whether its endpoint failed, and whether the request is tried again.
    fn after_answer(&mut self, method: &Method, answered: &Answered) -> Next {
        let (status, headers) = (answered.response.status(), answered.response.headers());
        self.cluster.report(&answered.endpoint, Outcome::of_status(status));
        if self.policy.is_none() && status != StatusCode::SERVICE_UNAVAILABLE {
            return Next::Final;
        }
        let unprocessed = answered.used.peer.is_some() && headers.contains_key(X_WEFT_UNPROCESSED);
        let grpc_status = retry::grpc_status(headers);
        let is_unavailable = status == StatusCode::SERVICE_UNAVAILABLE || grpc_status == Some(UNAVAILABLE);
        if unprocessed && is_unavailable {
            // Its application does not listen any more, or has too much to do.
            self.cluster.avoid(&answered.endpoint);
        }
        let progress = if unprocessed { Progress::Unprocessed } else { Progress::MaybeProcessed };
        let ended = Ended::Answered { status, grpc_status, headers };
        self.asked_to_wait = self.policy.and_then(|policy| retry::asked_to_wait(policy, headers));
        if self.policy.is_none() {
            // Another sidecar says that its application has not seen the request: as a failed connection.
            return self.without_policy(unprocessed, true);
        }
        self.by_policy(method, ended, progress)
    }

    fn after_failure(
        &mut self,
        method: &Method,
        failure: &AttemptFailure,
        endpoint: &Rc<EndpointState>,
    ) -> Next {
        use FailureKind as K;
        match failure.kind {
            K::Closed | K::Reset | K::Protocol | K::PerTryTimeout | K::Timeout => {
                self.cluster.report(endpoint, Outcome::LocalError);
            }
            _ => {}
        }
        let started = failure.progress == Progress::MaybeProcessed;
        self.asked_to_wait = None;
        let ended = Ended::Failed { kind: failure.kind, started };
        // A policy without retries means none at all; one for other failures does not take away what is always safe.
        if self.policy.is_none_or(|policy| policy.retries > 0 && !retry::wanted(policy, ended)) {
            let elsewhere = matches!(failure.kind, K::Connect | K::ConnectTimeout);
            let unprocessed = elsewhere || failure.kind == K::RefusedStream;
            return self.without_policy(unprocessed, elsewhere);
        }
        self.by_policy(method, ended, failure.progress)
    }

    /// One more attempt for what was provably not processed; after a failed connection only where there is another
    /// endpoint.
    fn without_policy(&self, unprocessed: bool, elsewhere: bool) -> Next {
        if !unprocessed || self.attempts > 1 || (elsewhere && self.cluster.endpoint_count() < 2) {
            return Next::Final;
        }
        self.allowed()
    }

    fn by_policy(&mut self, method: &Method, ended: Ended<'_>, progress: Progress) -> Next {
        let Some(policy) = self.policy else { return Next::Final };
        // The caller tries again by itself: doing so here, too, would multiply.
        let only_unprocessed = self.attempt_of_caller > 1;
        if !self.retriable
            || !retry::wanted(policy, ended)
            || !retry::safe(policy.idempotent_only, method, progress)
            || (only_unprocessed && progress == Progress::MaybeProcessed)
        {
            return Next::Final;
        }
        if !self.is_free(policy, progress) {
            self.counted += 1;
        }
        if self.counted > policy.retries {
            if policy.retries > 0 {
                self.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
            }
            return Next::Final;
        }
        let next = self.allowed();
        if matches!(next, Next::Final) {
            self.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        }
        next
    }

    /// Whether a failed attempt does not count. When most instances of a service end at once, a request meets one
    /// after another that refuses it, before the endpoints without them have arrived: two retries are soon used up,
    /// though nobody has looked at the request. A policy whose conditions the user named is obeyed to the letter.
    fn is_free(&self, policy: &RetryPolicy, progress: Progress) -> bool {
        let ours = policy.idempotent_only && policy.avoid_tried_endpoints && policy.retries > 0;
        ours && progress == Progress::Unprocessed && self.attempts < FREE_ATTEMPTS && self.has_untried()
    }

    /// Whether there is an endpoint that no attempt has gone to.
    fn has_untried(&self) -> bool {
        let tried = |address| Some(address) == self.current || self.tried.contains(&address);
        self.cluster.has_another(tried, self.destination.original_dst)
    }

    /// Asks the body, the circuit breaker and the budget.
    fn allowed(&self) -> Next {
        if self.replay.as_ref().is_some_and(|replay| !replay.is_whole()) {
            return Next::Final;
        }
        let limits = self.limits();
        let (requests, retries) = (limits.count(Bounded::Requests), limits.count(Bounded::Retries));
        let allowed = limits.budget_allows().unwrap_or_else(|| {
            limits.has_room(Bounded::Retries)
                && self.cluster.budget.withdraw(Instant::now(), requests, retries)
        });
        if !allowed {
            return Next::Final;
        }
        self.cluster.retries.set(self.cluster.retries.get() + 1);
        Next::Again(Some(limits.enter_unbounded(Bounded::Retries)))
    }

    /// The bounds of the route's priority.
    fn limits(&self) -> &Rc<Limits> {
        let priority = self.destination.forward.map(|forward| forward.priority).unwrap_or_default();
        self.cluster.limits_of(priority)
    }

    fn can_repeat(&self, request: &mut Request<Body>, endpoint: &Rc<EndpointState>) -> bool {
        let attempt = Attempt {
            upstreams: self.upstreams,
            cluster: &self.cluster,
            config: &self.config,
            endpoint,
            limits: self.limits(),
            replay: self.replay.as_ref(),
            client: self.destination.client.as_ref(),
        };
        attempt.restore(request, false)
    }

    /// Waits before the next attempt. False when the request's time is up before.
    async fn back_off(&self, retry: bool) -> bool {
        let Some(policy) = self.policy.filter(|_| retry) else { return true };
        let wait = match self.asked_to_wait {
            // Up to half as long again, so that those who were told the same do not all come at once.
            Some(asked) => asked.mul_f64(1.0 + fastrand::f64() / 2.0),
            None => retry::backoff(policy, self.attempts, fastrand::f64()),
        };
        let until = Instant::now() + wait;
        match self.deadline.filter(|deadline| *deadline <= until) {
            Some(deadline) => {
                tokio::time::sleep_until(deadline).await;
                false
            }
            None => {
                tokio::time::sleep_until(until).await;
                true
            }
        }
    }

    fn timed_out(&self) -> AttemptFailure {
        AttemptFailure::maybe_processed(FailureKind::Timeout, "")
    }

    fn record(
        &self,
        endpoint: &EndpointState,
        used: &Used,
        service_time: Option<Duration>,
    ) -> UpstreamRecord {
        UpstreamRecord {
            cluster: self.config.name.clone(),
            service: self.config.service.clone(),
            address: endpoint.address(),
            local: used.local,
            workload: endpoint.endpoint().workload.clone(),
            identity: used.peer.clone(),
            attempts: self.attempts,
            service_time,
        }
    }

    fn failure(&self, failure: AttemptFailure, endpoint: Option<&Rc<EndpointState>>) -> Failure {
        let record = endpoint.map(|endpoint| self.record(endpoint, &Used::default(), None));
        let address = endpoint.map(|endpoint| endpoint.address());
        let mut failed =
            Failure::of(failure.into_error(&self.config, address, self.destination.provenance), record);
        if self.flags.contains(ResponseFlag::UpstreamRetryLimitExceeded) {
            failed.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        }
        failed
    }

    /// The response as it goes to the client.
    fn answer(self, answered: Answered, requests: LimitGuard, retrying: Option<LimitGuard>) -> Exchange {
        let Answered { mut response, endpoint, active, used, service_time } = answered;
        if let Some(replay) = &self.replay {
            replay.forget();
        }
        let record = self.record(&endpoint, &used, Some(service_time));
        let end = ExchangeEnd::default();
        end.learn_grpc_status(response.headers());
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        strip_response(response.headers_mut(), switched && self.upgrade);
        // It has been looked at; and the workload's own word would make others send again what it has processed.
        response.headers_mut().remove(X_WEFT_UNPROCESSED);
        let guards: Guards = (requests, active, retrying);
        let per_try_idle = self.policy.and_then(|policy| policy.per_try_idle_timeout);
        let idle = self.destination.forward.and_then(|forward| forward.idle_timeout);
        let idle = [idle, per_try_idle].into_iter().flatten().min();
        let body = match std::mem::take(response.body_mut()) {
            Body::Empty => {
                end.finish(0);
                Body::Empty
            }
            Body::Full(bytes) => {
                end.finish(bytes.len() as u64);
                Body::Full(bytes)
            }
            mut body @ Body::Upgrade(_) => match body.take_upgraded() {
                Some(upstream) => tunnel(upstream, idle, end.clone(), (guards, used.upgraded)),
                None => body,
            },
            body => {
                let bounds = BodyBounds { deadline: self.deadline, idle };
                ResponseBody::wrap(body, end.clone(), guards, self.cluster, endpoint, bounds)
            }
        };
        *response.body_mut() = body;
        Exchange { response, record, flags: self.flags, details: "via_upstream", end }
    }
}

/// Makes the request fit to travel: hop-by-hop fields and what only sidecars say to each other go. Gives the attempt
/// of the caller.
fn prepare(request: &mut Request<Body>, keep_upgrade: bool, http2: bool) -> u32 {
    let headers = request.headers_mut();
    strip_request(headers, keep_upgrade);
    headers.remove(X_WEFT_PEER);
    headers.remove(X_WEFT_UNPROCESSED);
    if !http2 {
        translate::join_cookies(headers);
    }
    let count = headers.get(X_ENVOY_ATTEMPT_COUNT).and_then(|value| value.to_str().ok()?.parse().ok());
    count.unwrap_or(1).clamp(1, 1_000)
}

/// Copies both ways once the client's connection is handed over; `guards` are what is counted meanwhile.
fn tunnel(
    upstream: crate::io::Io,
    idle: Option<Duration>,
    end: ExchangeEnd,
    guards: impl Sized + 'static,
) -> Body {
    Body::on_upgrade(move |downstream| async move {
        let copied = copy::join(downstream, upstream, idle).await;
        end.finish(copied.from_upstream);
        match copied.result {
            Ok(()) => {}
            Err(CopyError::Idle(_)) => end.fail(ResponseFlag::StreamIdleTimeout, "stream_idle_timeout"),
            Err(CopyError::Io { side: ErrorSource::Upstream, .. }) => end.fail(
                ResponseFlag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            Err(CopyError::Io { .. }) => {
                end.fail(ResponseFlag::DownstreamConnectionTermination, "downstream_remote_disconnect");
            }
        }
        drop(guards);
    })
}
