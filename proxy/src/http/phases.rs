//! The phases of a request that both directions have; `inbound.rs` and `outbound.rs` put them in order.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use weft_model::hash_policy::{self, HashFacts, RequestHash};
use weft_model::matcher::RequestFacts;
use weft_model::provenance::Provenance;
use weft_model::route::{Forward, Redirect, Route, RouteAction, RouteTable, WeightedCluster};
use weft_model::subset::LbMetadata;

use super::context::{ChosenRoute, RequestContext, facts};
use super::downstream::Downstream;
use super::recorded_body::{counted, record_at_end};
use super::reply;
use crate::body::Body;
use crate::error::{ErrorSource, Progress, ProxyError, ResponseFlag};
use crate::filters::chain::{self, Passage};
use crate::filters::{bounds, headers, host, path, redirect, request_id, rewrite, target, trace_context};
use crate::http1;
use crate::upstream::{Destination, OriginalDestination, Preference};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_ENVOY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const X_ENVOY_UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Brings a request into the one form that is matched and sent on: authority in `Host`, a normal path, and no fields
/// that are meant for this hop alone.
///
/// # Errors
/// It asks for something that is not allowed.
pub fn normalise(request: &mut Request<Body>) -> Result<(), ProxyError> {
    authority_into_host(request)?;
    let upgrade =
        request.version() < Version::HTTP_2 && http1::upgrade_requested(request.headers()).is_some();
    // Whether an upgrade is let through is for the route to say, too.
    http1::strip_request(request.headers_mut(), upgrade);
    if upgrade {
        // Whoever sends it on decides by this field that it is one.
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let text = request.uri().path_and_query().map_or("", |path| path.as_str());
    if let std::borrow::Cow::Owned(normal) = path::normalised(text) {
        *request.uri_mut() = rewrite::with_path(request.uri(), &normal).map_err(|_| malformed_path())?;
    }
    Ok(())
}

/// One form for what HTTP/1 says in `Host` or an absolute target, and HTTP/2 in `:authority`; the latter two win
/// (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1).
fn authority_into_host(request: &mut Request<Body>) -> Result<(), ProxyError> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let host = HeaderValue::try_from(without_user(authority.as_str())).map_err(|_| malformed_path())?;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    request.headers_mut().insert(header::HOST, host);
    *request.uri_mut() = Uri::from(path);
    Ok(())
}

/// User information has no meaning in HTTP (RFC 9110, section 4.2.4).
fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn malformed_path() -> ProxyError {
    ProxyError {
        fault: ErrorSource::Downstream,
        progress: Progress::Unprocessed,
        status: StatusCode::BAD_REQUEST,
        flag: ResponseFlag::DownstreamProtocolError,
        details: "path_normalization_failed",
        message: "the request's target is malformed".to_owned(),
    }
}

/// Istio lets WebSocket through where nothing is said of upgrades.
fn allow_upgrade(
    request: &Request<Body>,
    route: &ChosenRoute,
    downstream: &Downstream,
) -> Result<(), ProxyError> {
    if request.version() >= Version::HTTP_2 {
        return Ok(());
    }
    let Some(wanted) = http1::upgrade_requested(request.headers()) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    let of_route = match &route.action {
        RouteAction::Forward(forward) => forward.more.as_ref().map_or(&[][..], |more| &more.upgrades[..]),
        _ => &[],
    };
    let allowed = |token: &str| {
        if let Some((_, allowed)) = of_route.iter().find(|(known, _)| known.eq_ignore_ascii_case(token)) {
            return *allowed;
        }
        let listed = downstream.with_settings(|http| match &http.upgrades[..] {
            [] => token.eq_ignore_ascii_case("websocket"),
            tokens => tokens.iter().any(|known| known.eq_ignore_ascii_case(token)),
        });
        listed.unwrap_or_default()
    };
    if wanted.split(',').map(str::trim).all(allowed) {
        return Ok(());
    }
    Err(ProxyError {
        fault: ErrorSource::Downstream,
        progress: Progress::Unprocessed,
        status: StatusCode::FORBIDDEN,
        flag: ResponseFlag::DownstreamProtocolError,
        details: "upgrade_failed",
        message: format!("listener {} does not let `Upgrade: {wanted}` through", downstream.listener().name),
    })
}

/// Gives the request an id, and a place in a trace.
pub fn identify(context: &mut RequestContext, request: &mut Request<Body>, downstream: &Downstream) {
    request_id::ensure(request.headers_mut());
    if let Some(sampling) = downstream.worker.shared.sampling {
        context.span = Some(trace_context::continue_trace(request.headers_mut(), sampling));
    }
    if !request.headers().contains_key(X_FORWARDED_PROTO) {
        request.headers_mut().insert(X_FORWARDED_PROTO, HeaderValue::from_static(downstream.scheme));
    }
}

/// The connection's routes, of the newest snapshot.
///
/// # Errors
/// They are not known (yet).
pub fn routes(downstream: &Downstream) -> Result<Arc<RouteTable>, ProxyError> {
    downstream.routes().ok_or_else(|| {
        let listener = downstream.listener();
        ProxyError {
            fault: ErrorSource::Internal,
            progress: Progress::Unprocessed,
            status: StatusCode::SERVICE_UNAVAILABLE,
            flag: ResponseFlag::NoRouteFound,
            details: "route_configuration_not_found",
            message: format!(
                "the routes of listener {} are not known yet: the control plane has not sent them{}",
                listener.name,
                from(&listener.provenance)
            ),
        }
    })
}

/// The rule for a request.
///
/// # Errors
/// There is none.
pub fn choose_route(
    table: &Arc<RouteTable>,
    request: &Request<Body>,
    scheme: &str,
) -> Result<ChosenRoute, ProxyError> {
    let facts = RequestFacts { random: fastrand::u32(..), ..facts(request, scheme) };
    ChosenRoute::choose(table, &facts).ok_or_else(|| {
        let why = match table.virtual_host(facts.authority) {
            None => format!("has no virtual host for `{}`", facts.authority),
            Some(host) => format!(
                "has {} routes for `{}`, none of which matches {} {}",
                host.routes.len(),
                facts.authority,
                facts.method,
                facts.path()
            ),
        };
        ProxyError {
            fault: ErrorSource::Internal,
            progress: Progress::Unprocessed,
            status: StatusCode::NOT_FOUND,
            flag: ResponseFlag::NoRouteFound,
            details: "route_not_found",
            message: format!("no route: route table {} {why}", table.name),
        }
    })
}

/// `, from Kind/namespace/name@generation field`, or nothing.
fn from(provenance: &[Provenance]) -> String {
    match provenance {
        [] => String::new(),
        [first, ..] => format!(" (from {first})"),
    }
}

/// What becomes of a request that no route is for: filters may still answer it.
///
/// # Errors
/// They do not.
pub async fn unrouted(
    context: &mut RequestContext,
    request: &mut Request<Body>,
    error: ProxyError,
) -> Result<Response<Body>, ProxyError> {
    let filters = context.downstream.filters();
    let mut passage = Passage { context, route: None, cluster: None, request };
    let mut response = match chain::pass(&filters, &mut passage).await {
        Some(answer) => answer,
        None if context.after.is_empty() => return Err(error),
        None => {
            context.note_error(&error);
            reply::of_error(&error, context.grpc, context.to_sidecar)
        }
    };
    chain::after(context, &mut response);
    Ok(response)
}

/// Does what the route says, up to the head of the response.
///
/// # Errors
/// What the client is to be told instead of a response.
pub async fn act(
    context: &mut RequestContext,
    route: &ChosenRoute,
    request: &mut Request<Body>,
    original_dst: Option<OriginalDestination>,
) -> Result<Response<Body>, ProxyError> {
    allow_upgrade(request, route, &context.downstream)?;
    let target = match &route.action {
        RouteAction::Forward(forward) => target::of(forward, request.headers()),
        _ => None,
    };
    if route.host().require_tls && !came_by_tls(request.headers()) {
        return Ok(to_https(context, route, request));
    }
    let filters = context.downstream.filters();
    let mut passage = Passage { context, route: Some(route), cluster: target.as_deref(), request };
    let answered = chain::pass(&filters, &mut passage).await;
    let mut response = match (answered, &route.action) {
        (Some(answer), _) => answer,
        (None, RouteAction::Redirect(to)) => {
            context.details = "direct_response";
            let facts = facts(request, context.downstream.scheme);
            redirect::answer(to, &route.matches.path, facts.scheme, facts.authority, facts.path_and_query)
        }
        (None, RouteAction::Respond(direct)) => {
            context.details = "direct_response";
            let status = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            reply::of_status(status, &direct.body, false)
        }
        (None, RouteAction::Forward(forward)) => {
            let cluster = target.as_deref().ok_or_else(|| no_weight(route))?;
            match send(context, route, forward, cluster, request, original_dst).await {
                Ok(response) => response,
                Err(error) if context.after.is_empty() => return Err(error),
                // Filters have their word about it.
                Err(error) => {
                    context.note_error(&error);
                    reply::of_error(&error, context.grpc, context.to_sidecar)
                }
            }
        }
    };
    headers::response(context, route, &mut response);
    if !context.after.is_empty() {
        chain::after(context, &mut response);
    }
    Ok(response)
}

/// Whether the client's own connection, as far as anybody knows, was protected.
fn came_by_tls(headers: &HeaderMap) -> bool {
    headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn to_https(context: &mut RequestContext, route: &ChosenRoute, request: &Request<Body>) -> Response<Body> {
    context.details = "direct_response";
    let facts = facts(request, context.downstream.scheme);
    let to = Redirect { scheme: Some("https".into()), ..Redirect::default() };
    redirect::answer(&to, &route.matches.path, facts.scheme, facts.authority, facts.path_and_query)
}

async fn send(
    context: &mut RequestContext,
    route: &ChosenRoute,
    forward: &Forward,
    cluster: &WeightedCluster,
    request: &mut Request<Body>,
    original_dst: Option<OriginalDestination>,
) -> Result<Response<Body>, ProxyError> {
    context.cluster = Some(cluster.cluster.clone());
    let hash = hash(context, forward, request);
    let wanted = wanted(forward, cluster);
    change_request(context, route, forward, cluster, request)?;
    mirror(context, forward, request, original_dst, &route.provenance);
    let body = std::mem::take(request.body_mut());
    *request.body_mut() = counted(body, context.received.clone());
    let bounded = bounds::of_request(forward, context.grpc, request.headers_mut());
    let forward = bounded.as_deref().unwrap_or(forward);
    let destination = Destination {
        cluster: &cluster.cluster,
        forward: Some(forward),
        original_dst,
        downstream: context.protocol(),
        provenance: &route.provenance,
        preference: Preference { hash: hash.hash, metadata_match: Some(&wanted) },
        client: Some(context.connection().ends()),
    };
    let worker = context.downstream.worker.clone();
    // Boxed: it is large, and an idle connection must not hold room for it.
    let sent = Box::pin(worker.upstreams.send(request, &destination)).await;
    context.headers = std::mem::take(request.headers_mut());
    let exchange = sent.map_err(|failure| {
        let mut error = context.fail(failure);
        if let (ResponseFlag::NoClusterFound, Some(more)) = (error.flag, &forward.more)
            && let Some(status) = more.cluster_not_found
        {
            error.status = StatusCode::from_u16(status).unwrap_or(error.status);
        }
        error
    })?;
    context.note_exchange(exchange.flags, exchange.details, exchange.record, exchange.end);
    let mut response = exchange.response;
    if let Some(upstream) = &context.upstream {
        let (time, attempts) = (upstream.service_time, upstream.attempts);
        let headers = response.headers_mut();
        if let Some(time) = time {
            headers.insert(X_ENVOY_UPSTREAM_SERVICE_TIME, millis(time));
        }
        if route.host().attempt_count_in_response {
            headers.insert(X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(attempts));
        }
    }
    for cookie in hash.set_cookies {
        // A name or a path that cannot stand in a header is the configuration's; the answer is not to suffer.
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    headers::change_response(context, &cluster.response_headers, &mut response);
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    http1::strip_response(response.headers_mut(), switching);
    Ok(response)
}

/// The request's hash, as the client sent it.
fn hash(context: &RequestContext, forward: &Forward, request: &Request<Body>) -> RequestHash {
    if forward.hash_policy.is_empty() {
        return RequestHash::default();
    }
    let facts = HashFacts {
        headers: request.headers(),
        path_and_query: request.uri().path_and_query().map_or("/", |path| path.as_str()),
        client: context.downstream.record().remote.ip(),
    };
    hash_policy::hash(&forward.hash_policy, &facts, || fastrand::u64(..))
}

/// What endpoints must have. Borrowed where only one of the two says something: a count of references that all workers
/// share would be touched by every request.
fn wanted<'a>(forward: &'a Forward, cluster: &'a WeightedCluster) -> Cow<'a, LbMetadata> {
    match (&forward.metadata_match, &cluster.metadata_match) {
        (route, own) if own.is_empty() => Cow::Borrowed(route),
        (route, own) if route.is_empty() => Cow::Borrowed(own),
        (route, own) => Cow::Owned(route.with(own)),
    }
}

/// Most times are short, and a constant costs no allocation.
fn millis(time: Duration) -> HeaderValue {
    const SHORT: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let millis = time.as_millis() as u64;
    match SHORT.get(millis as usize) {
        Some(short) => HeaderValue::from_static(short),
        None => HeaderValue::from(millis),
    }
}

fn no_weight(route: &Route) -> ProxyError {
    ProxyError {
        fault: ErrorSource::Internal,
        progress: Progress::Unprocessed,
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: ResponseFlag::NoClusterFound,
        details: "no_cluster_info",
        message: format!(
            "route {} sends nothing anywhere: all weights are 0{}",
            route.name,
            from(&route.provenance)
        ),
    }
}

fn change_request(
    context: &RequestContext,
    route: &ChosenRoute,
    forward: &Forward,
    cluster: &WeightedCluster,
    request: &mut Request<Body>,
) -> Result<(), ProxyError> {
    headers::request(context, route, cluster, request);
    if cluster.host_rewrite.is_some() || forward.host_rewrite.is_some() {
        host::rewrite(forward, cluster, request);
    }
    if let Some(rewrite) = &forward.path_rewrite {
        let text = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let text = rewrite::rewritten(rewrite, &route.matches.path, text);
        *request.uri_mut() = rewrite::with_path(request.uri(), &text).map_err(|_| ProxyError {
            fault: ErrorSource::Internal,
            message: format!(
                "route {} rewrites the path to what is none{}",
                route.name,
                from(&route.provenance)
            ),
            ..malformed_path()
        })?;
    }
    Ok(())
}

/// Sends copies elsewhere; their answers are thrown away. Only requests that are complete in memory are copied: a
/// stream would have to be held back for the slower of two servers.
fn mirror(
    context: &RequestContext,
    forward: &Forward,
    request: &Request<Body>,
    original_dst: Option<OriginalDestination>,
    provenance: &[Provenance],
) {
    for mirror in &forward.mirrors {
        if !request.body().is_replayable() || !mirror.fraction.includes(fastrand::u32(..)) {
            continue;
        }
        let body = match request.body() {
            Body::Full(bytes) => Body::Full(bytes.clone()),
            _ => Body::Empty,
        };
        let mut copy = Request::new(body);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        shadow_host(copy.headers_mut());
        let worker = context.downstream.worker.clone();
        let (cluster, provenance) = (mirror.cluster.clone(), provenance.to_vec());
        let (downstream, timeout) = (context.protocol(), forward.timeout);
        let client = Some(context.connection().ends());
        tokio::task::spawn_local(async move {
            let shadow = Forward { timeout, ..Forward::to(&cluster) };
            let destination = Destination {
                cluster: &cluster,
                forward: Some(&shadow),
                original_dst,
                downstream,
                provenance: &provenance,
                preference: Preference::default(),
                client,
            };
            if let Ok(exchange) = worker.upstreams.send(&mut copy, &destination).await {
                use http_body_util::BodyExt;
                let mut body = exchange.response.into_body();
                while let Some(Ok(_)) = body.frame().await {}
            }
        });
    }
}

/// Envoy marks copies so, and so do the logs that tell them from the real ones.
fn shadow_host(headers: &mut HeaderMap) {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return };
    let shadow = match redirect::split_port(host) {
        (name, Some(port)) => format!("{name}-shadow:{port}"),
        (name, None) => format!("{name}-shadow"),
    };
    if let Ok(shadow) = HeaderValue::try_from(shadow) {
        headers.insert(header::HOST, shadow);
    }
}

/// Turns what a story ended with into the answer, and sees to it that it is recorded.
#[must_use]
pub fn answer(
    mut context: Box<RequestContext>,
    outcome: Result<Response<Body>, ProxyError>,
) -> Response<Body> {
    let response = outcome.unwrap_or_else(|error| {
        context.note_error(&error);
        reply::of_error(&error, context.grpc, context.to_sidecar)
    });
    record_at_end(context, response)
}

/// `CONNECT` opens a tunnel, which is not for a listener that is no forward proxy.
///
/// # Errors
/// It is one.
pub fn refuse_connect(request: &Request<Body>, downstream: &Rc<Downstream>) -> Result<(), ProxyError> {
    if request.method() != Method::CONNECT {
        return Ok(());
    }
    Err(ProxyError {
        fault: ErrorSource::Downstream,
        progress: Progress::Unprocessed,
        status: StatusCode::METHOD_NOT_ALLOWED,
        flag: ResponseFlag::DownstreamProtocolError,
        details: "connect_not_supported",
        message: format!(
            "listener {} is no forward proxy: it does not take CONNECT",
            downstream.listener().name
        ),
    })
}
