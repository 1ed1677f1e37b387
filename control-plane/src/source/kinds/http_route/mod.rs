//! `HTTPRoute` of the Gateway API with a Service as parent (GAMMA)
//! (<https://gateway-api.sigs.k8s.io/reference/spec/#httproute>, <https://gateway-api.sigs.k8s.io/mesh/>).

mod filters;
mod parse;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};

use crate::source::words::{FieldPath, HeaderChanges, Host, Pattern, Port};

pub(crate) use parse::parse;

/// Routes of requests to the services it names as parents.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRoute {
    /// The services whose traffic is routed; at least one, all of kind Service.
    pub parents: Vec<ParentRef>,
    /// Kept for `get`; a route of the mesh applies to its parents whatever the `Host` header says
    /// (<https://gateway-api.sigs.k8s.io/geps/gep-1294/>).
    pub hostnames: Vec<Host>,
    /// One to sixteen, in the user's order; precedence among their matches is the Gateway API's, not the order.
    pub rules: Vec<HttpRouteRule>,
}

/// One service whose traffic is routed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParentRef {
    /// Where it stands.
    pub field: FieldPath,
    /// The object's namespace when the field is absent. Another namespace makes it a consumer route: it applies
    /// only to clients in the route's own namespace.
    pub namespace: Arc<str>,
    /// The service's name.
    pub name: Arc<str>,
    /// All ports when absent.
    pub port: Option<Port>,
    /// Name of the port.
    pub section_name: Option<Arc<str>>,
}

/// One rule.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRouteRule {
    /// Where it stands, such as `spec.rules[0]`.
    pub field: FieldPath,
    /// Unique in the route.
    pub name: Option<Arc<str>>,
    /// Any of them; never empty: an absent list is the match of the path prefix `/`.
    pub matches: Vec<HttpRouteMatch>,
    /// In the user's order.
    pub filters: Vec<HttpRouteFilter>,
    /// Split by weight. Empty without a redirect: requests get 500 (per the Gateway API, "MUST receive 500").
    pub backends: Vec<HttpBackend>,
    /// Time limits.
    pub timeouts: HttpRouteTimeouts,
    /// When requests are sent again.
    pub retry: Option<HttpRouteRetry>,
}

/// Conditions that must all hold.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpRouteMatch {
    /// Where it stands, such as `spec.rules[0].matches[0]`; of the rule when it has no matches.
    pub field: FieldPath,
    /// The default is the prefix `/`.
    pub path: PathMatch,
    /// Each name at most once: of names that differ only in case the first counts.
    pub headers: Vec<HeaderMatch>,
    /// Each name at most once.
    pub query_params: Vec<QueryParamMatch>,
    /// Any when absent.
    pub method: Option<Method>,
}

/// How a path is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// Whole segments: `/a/b` matches `/a/b` and `/a/b/c`, not `/a/bc`. A trailing slash was removed, `/` excepted.
    PathPrefix(Arc<str>),
    /// The whole path matches.
    RegularExpression(Pattern),
}

/// How a value is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueMatch {
    /// Equal, case-sensitive.
    Exact(Arc<str>),
    /// The whole value matches.
    RegularExpression(Pattern),
}

/// A condition on a request header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderMatch {
    /// Which header.
    pub name: HeaderName,
    /// Its value.
    pub value: ValueMatch,
}

/// A condition on a query parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryParamMatch {
    /// Which parameter, case-sensitive.
    pub name: Arc<str>,
    /// Its value.
    pub value: ValueMatch,
}

/// What is done to a request or response.
#[derive(Clone, PartialEq, Debug)]
pub enum HttpRouteFilter {
    /// Changes headers of the request.
    RequestHeaderModifier(HeaderChanges),
    /// Changes headers of the response.
    ResponseHeaderModifier(HeaderChanges),
    /// Answers with a redirect; excludes backends and `UrlRewrite`.
    RequestRedirect(RequestRedirect),
    /// Changes host or path before the request is sent on.
    UrlRewrite(UrlRewrite),
}

/// A redirect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestRedirect {
    /// The request's when absent.
    pub scheme: Option<Scheme>,
    /// The request's when absent.
    pub hostname: Option<Host>,
    /// The request's when absent.
    pub path: Option<PathModifier>,
    /// When absent: the well-known port of `scheme` when that is given, else the request's.
    pub port: Option<Port>,
    /// 301 (the v1 API allows 301 and 302; 303, 307 and 308 since v1.4); 302 when absent.
    pub status: StatusCode,
}

/// The scheme of a redirect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// http
    Http,
    /// https
    Https,
}

/// A rewrite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlRewrite {
    /// New `Host`.
    pub hostname: Option<Host>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathModifier {
    /// Replaces the whole path.
    ReplaceFullPath(Arc<str>),
    /// Replaces the prefix that the rule's (one, prefix) path match named.
    ReplacePrefixMatch(Arc<str>),
}

/// One of the destinations.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpBackend {
    /// Where it stands, such as `spec.rules[0].backendRefs[1]`.
    pub field: FieldPath,
    /// The object's namespace when the field is absent.
    pub namespace: Arc<str>,
    /// The service's name.
    pub name: Arc<str>,
    /// The service's port: the API requires it for kind Service.
    pub port: Port,
    /// 0 to 1,000,000; 1 when absent. 0 takes no requests.
    pub weight: u32,
    /// For requests to this backend only, after the rule's.
    pub filters: Vec<HttpRouteFilter>,
}

/// Time limits; a zero duration switches a limit off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HttpRouteTimeouts {
    /// From the request's last byte read to the response's end, with all retries.
    pub request: Option<Duration>,
    /// Of one attempt; never longer than `request` unless that is zero.
    pub backend_request: Option<Duration>,
}

/// GEP-1731 (<https://gateway-api.sigs.k8s.io/geps/gep-1731/>).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRouteRetry {
    /// Where it stands.
    pub field: FieldPath,
    /// Statuses (400 to 599) that are retried, beside connection errors that certainly left no trace.
    pub codes: Vec<u16>,
    /// Retries after the first attempt; the implementation's default when absent.
    pub attempts: Option<u32>,
    /// The shortest pause before a retry.
    pub backoff: Option<Duration>,
}
