//! What is known of one request, from its head to the last byte of its response; recorded when it is dropped.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use weft_model::filter::RouteFilter;
use weft_model::format::Template;
use weft_model::matcher::RequestFacts;
use weft_model::provenance::Provenance;
use weft_model::route::{Route, RouteTable, VirtualHost, WeightedCluster};

pub use weft_model::route::is_grpc;

use super::downstream::Downstream;
use crate::body::Body;
use crate::error::{ProxyError, ResponseFlag, ResponseFlags};
use crate::filters::chain::After;
use crate::filters::trace_context::Span;
use crate::telemetry::access_log;
use crate::telemetry::record::{ConnectionRecord, RequestRecord, UpstreamRecord};
use crate::upstream::{ExchangeEnd, Failure, GRPC_STATUS};

/// One request.
pub struct RequestContext {
    /// The connection that it came by.
    pub downstream: Rc<Downstream>,
    connection: Rc<ConnectionRecord>,
    started_at: SystemTime,
    started: Instant,
    method: Method,
    target: Uri,
    host: Option<HeaderValue>,
    protocol: Version,
    /// `content-type: application/grpc…`.
    pub grpc: bool,
    /// The client is a sidecar, which wants to know of an error whether the request may be sent again.
    pub to_sidecar: bool,
    /// Headers as sent upstream; when it was not sent, as they came and this proxy completed them.
    pub headers: HeaderMap,
    /// The rule that decides about it.
    pub route: Option<ChosenRoute>,
    /// Name of the cluster that was chosen for it.
    pub cluster: Option<Arc<str>>,
    /// Its part of a trace.
    pub span: Option<Span>,
    /// Where it was sent.
    pub upstream: Option<UpstreamRecord>,
    /// Why the response is not simply what the upstream said.
    pub flags: ResponseFlags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// Bytes of its body so far.
    pub received: Rc<Cell<u64>>,
    /// What filters want done to the response, in the order of the filters.
    pub after: Vec<After>,
    /// Looked at for what happened in the middle of the response's body.
    pub end: Option<ExchangeEnd>,
    failure: Option<String>,
    recorded: bool,
}

impl RequestContext {
    /// From the head of a request.
    #[must_use]
    pub fn begin(downstream: &Rc<Downstream>, request: &Request<Body>) -> Self {
        let received = match request.body() {
            Body::Full(bytes) => bytes.len() as u64,
            _ => 0,
        };
        Self {
            downstream: downstream.clone(),
            connection: downstream.record(),
            started_at: SystemTime::now(),
            started: Instant::now(),
            method: request.method().clone(),
            target: request.uri().clone(),
            host: request.headers().get(header::HOST).cloned(),
            protocol: request.version(),
            grpc: is_grpc(request.headers()),
            to_sidecar: false,
            headers: HeaderMap::new(),
            route: None,
            cluster: None,
            span: None,
            upstream: None,
            flags: ResponseFlags::default(),
            details: "",
            received: Rc::new(Cell::new(received)),
            after: Vec::new(),
            end: None,
            failure: None,
            recorded: false,
        }
    }

    /// Notes what the client's connection is known to be only since this request.
    pub fn refresh_connection(&mut self) {
        self.connection = self.downstream.record();
    }

    /// What the client spoke.
    #[must_use]
    pub fn protocol(&self) -> Version {
        self.protocol
    }

    /// Where the client wanted to go.
    #[must_use]
    pub fn connection(&self) -> &ConnectionRecord {
        &self.connection
    }

    /// Notes where it was sent, and what became of it so far.
    pub fn note_exchange(
        &mut self,
        flags: ResponseFlags,
        details: &'static str,
        upstream: UpstreamRecord,
        end: ExchangeEnd,
    ) {
        self.add_flags(flags);
        self.details = details;
        self.upstream = Some(upstream);
        self.end = Some(end);
    }

    fn add_flags(&mut self, flags: ResponseFlags) {
        for flag in ALL_FLAGS.into_iter().filter(|flag| flags.contains(*flag)) {
            self.flags.insert(flag);
        }
    }

    /// Notes how sending it failed; gives the error that the client is to be told.
    pub fn fail(&mut self, failure: Failure) -> ProxyError {
        self.add_flags(failure.flags);
        if failure.record.is_some() {
            self.upstream = failure.record;
        }
        failure.error
    }

    /// Notes an answer that this proxy gives itself.
    pub fn note_error(&mut self, error: &ProxyError) {
        self.flags.insert(error.flag);
        self.details = error.details;
        if error.flag == ResponseFlag::UpstreamConnectionFailure {
            self.failure = Some(error.message.clone());
        }
    }

    /// Records it: the last byte of its response is on its way, or never will be.
    pub fn record(&mut self, status: Option<StatusCode>, headers: &HeaderMap, sent: u64) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        if let Some(flag) = self.end.as_ref().and_then(ExchangeEnd::flag) {
            self.flags.insert(flag);
        }
        let recorder = &self.downstream.worker.recorder;
        self.with_record(status, &self.headers, headers, sent, |record| recorder.request(record));
    }

    /// What a text with operators says of the request as it is now; `status` and `response` as far as there is one.
    #[must_use]
    pub fn evaluate(
        &self,
        template: &Template,
        request: &HeaderMap,
        status: Option<StatusCode>,
        response: &HeaderMap,
    ) -> Vec<u8> {
        let own = self.downstream.worker.shared.own_identity();
        self.with_record(status, request, response, 0, |record| {
            access_log::evaluate(template, &access_log::Entry::Request(record, own.as_ref()))
        })
    }

    fn with_record<T>(
        &self,
        status: Option<StatusCode>,
        request_headers: &HeaderMap,
        headers: &HeaderMap,
        sent: u64,
        look: impl FnOnce(&RequestRecord<'_>) -> T,
    ) -> T {
        let details = self.end.as_ref().and_then(ExchangeEnd::details).unwrap_or(self.details);
        let grpc_status = self.end.as_ref().and_then(ExchangeEnd::grpc_status);
        let no_provenance: &[Provenance] = &[];
        look(&RequestRecord {
            connection: &self.connection,
            started_at: self.started_at,
            started: self.started,
            method: &self.method,
            path: self.target.path_and_query().map_or("", |path| path.as_str()),
            authority: authority(&self.target, self.host.as_ref()),
            protocol: self.protocol,
            request_headers,
            response_headers: headers,
            grpc: self.grpc,
            status,
            grpc_status: grpc_status
                .or_else(|| if self.grpc { headers.get(GRPC_STATUS).cloned() } else { None }),
            flags: self.flags,
            details,
            transport_failure: self.failure.as_deref().unwrap_or_default(),
            bytes_received: self.received.get(),
            bytes_sent: sent,
            duration: self.started.elapsed(),
            cluster: self.cluster.as_deref().unwrap_or_default(),
            span: self.span,
            route: self.route.as_ref().map_or("", |route| &route.name),
            provenance: self.route.as_ref().map_or(no_provenance, |route| &route.provenance),
            upstream: self.upstream.as_ref(),
        })
    }
}

/// A request while its story is told. However the story ends, also when the client goes in the middle of it, what is
/// recorded has the request's headers.
pub struct UnderWay<'a> {
    /// What is known of it.
    pub context: &'a mut RequestContext,
    /// Itself.
    pub request: &'a mut Request<Body>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // What was sent upstream has been noted by whoever sent it.
        if self.context.headers.is_empty() {
            self.context.headers = std::mem::take(self.request.headers_mut());
        }
    }
}

/// The client went away before there was an answer.
impl Drop for RequestContext {
    fn drop(&mut self) {
        if !self.recorded {
            self.flags.insert(ResponseFlag::DownstreamConnectionTermination);
            self.details = "downstream_remote_disconnect";
            self.record(None, &HeaderMap::new(), 0);
        }
    }
}

/// All flags there are.
const ALL_FLAGS: [ResponseFlag; 19] = [
    ResponseFlag::RateLimited,
    ResponseFlag::UnauthorizedExternalService,
    ResponseFlag::DownstreamProtocolError,
    ResponseFlag::DownstreamConnectionTermination,
    ResponseFlag::DelayInjected,
    ResponseFlag::FaultInjected,
    ResponseFlag::NoRouteFound,
    ResponseFlag::NoClusterFound,
    ResponseFlag::NoHealthyUpstream,
    ResponseFlag::UpstreamConnectionFailure,
    ResponseFlag::UpstreamConnectionTermination,
    ResponseFlag::UpstreamOverflow,
    ResponseFlag::UpstreamProtocolError,
    ResponseFlag::UpstreamRemoteReset,
    ResponseFlag::UpstreamRetryLimitExceeded,
    ResponseFlag::UpstreamRequestTimeout,
    ResponseFlag::StreamIdleTimeout,
    ResponseFlag::OverloadManager,
    ResponseFlag::DropOverload,
];

/// Host and port that a request is for, as its client wrote them; empty when it did not.
#[must_use]
pub fn authority<'a>(target: &'a Uri, host: Option<&'a HeaderValue>) -> &'a str {
    match target.authority() {
        Some(authority) => authority.as_str(),
        None => host.and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

/// What matching can see of a request.
#[must_use]
pub fn facts<'a>(request: &'a Request<Body>, scheme: &'a str) -> RequestFacts<'a> {
    RequestFacts {
        method: request.method().as_str(),
        scheme,
        authority: authority(request.uri(), request.headers().get(header::HOST)),
        path_and_query: request.uri().path_and_query().map_or("", |path| path.as_str()),
        headers: request.headers(),
        random: 0,
    }
}

/// A route, kept without keeping all of its snapshot.
#[derive(Clone, Debug)]
pub struct ChosenRoute {
    table: Arc<RouteTable>,
    host: usize,
    route: usize,
}

impl ChosenRoute {
    /// The first route of the table that the request fulfils.
    #[must_use]
    pub fn choose(table: &Arc<RouteTable>, request: &RequestFacts<'_>) -> Option<Self> {
        let (host, route) = table.route_place(request)?;
        Some(Self { table: table.clone(), host, route })
    }

    /// A route that stands in no table.
    #[must_use]
    pub fn only(route: Route) -> Self {
        let host = VirtualHost {
            name: route.name.clone(),
            domains: vec!["*".into()],
            routes: vec![route],
            ..VirtualHost::default()
        };
        Self { table: Arc::new(RouteTable::new(&host.name.clone(), vec![host])), host: 0, route: 0 }
    }

    /// The table that it stands in.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The virtual host that it stands in.
    #[must_use]
    pub fn host(&self) -> &VirtualHost {
        &self.table.virtual_hosts[self.host]
    }

    /// How a filter works for requests of this route to `cluster`, where it is not as the listener says: the most
    /// specific level that says anything has the word.
    #[must_use]
    pub fn filter<'a>(&'a self, name: &str, cluster: Option<&'a WeightedCluster>) -> Option<&'a RouteFilter> {
        cluster
            .and_then(|cluster| cluster.filters.get(name))
            .or_else(|| self.filters.get(name))
            .or_else(|| self.host().settings.filters.get(name))
            .or_else(|| self.table.settings.filters.get(name))
    }

    /// What each level says of a filter, the most specific first.
    #[must_use]
    pub fn filters<'a>(
        &'a self,
        name: &str,
        cluster: Option<&'a WeightedCluster>,
    ) -> [Option<&'a RouteFilter>; 4] {
        [
            cluster.and_then(|cluster| cluster.filters.get(name)),
            self.filters.get(name),
            self.host().settings.filters.get(name),
            self.table.settings.filters.get(name),
        ]
    }
}

impl Deref for ChosenRoute {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.table.virtual_hosts[self.host].routes[self.route]
    }
}
