//! Asks a service whether a request is allowed
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter>).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::matcher::StringMatch;
use crate::policy::Fraction;

/// A call of a filter's own to a gRPC service, through a cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct GrpcCall {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// `:authority`; the cluster's name where nothing is said.
    pub authority: Arc<str>,
    /// Bound on the call.
    pub timeout: Duration,
    /// Sent along.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
}

/// Asks a service whether a request is allowed.
#[derive(Clone, PartialEq, Debug)]
pub struct ExtAuthz {
    /// Whom.
    pub service: AuthzService,
    /// When nobody answers, requests are let through.
    pub failure_mode_allow: bool,
    /// Such requests say so, in `x-envoy-auth-failure-mode-allowed`.
    pub failure_mode_allow_header_add: bool,
    /// The service sees the request's content, too.
    pub body: Option<BodySettings>,
    /// When nobody answers and requests are not let through: 400..=599.
    pub status_on_error: u16,
    /// Headers that the service sees; none: all.
    pub allowed_headers: Option<Vec<StringMatch>>,
    /// Headers that the service does not see.
    pub disallowed_headers: Vec<StringMatch>,
    /// Share of requests that are asked for.
    pub enabled: Fraction,
}

/// Whom a filter asks.
#[derive(Clone, PartialEq, Debug)]
pub enum AuthzService {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcCall),
    /// An HTTP service that answers 200 to what is allowed.
    Http(Box<HttpAuthz>),
}

/// An HTTP service that answers 200 to what is allowed.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpAuthz {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// `Host`.
    pub authority: HeaderValue,
    /// As the configuration has it.
    pub uri: Arc<str>,
    /// Bound on the call.
    pub timeout: Duration,
    /// Stands before the request's path.
    pub path_prefix: Arc<str>,
    /// Sent along.
    pub headers_to_add: Vec<(HeaderName, HeaderValue)>,
    /// Headers of the answer that replace the request's.
    pub upstream_headers: Vec<StringMatch>,
    /// Headers of the answer that come beside the request's.
    pub upstream_headers_to_append: Vec<StringMatch>,
    /// Headers of a denial that the client sees; none: all.
    pub client_headers: Vec<StringMatch>,
    /// Headers of an allowance that the client sees.
    pub client_headers_on_success: Vec<StringMatch>,
}

/// How much of a request's content is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodySettings {
    /// In bytes; more than 0.
    pub max_request_bytes: u32,
    /// Of longer content the beginning is told (true), or it is refused with 413 (false).
    pub allow_partial_message: bool,
    /// As bytes instead of text.
    pub pack_as_bytes: bool,
}

/// What a route tells the service beyond the rest.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct CheckSettings {
    /// Told as it is.
    pub context_extensions: BTreeMap<String, String>,
    /// The service does not see the content.
    pub disable_request_body_buffering: bool,
    /// How much of the content is told, instead of what the listener says.
    pub body: Option<BodySettings>,
}

impl ExtAuthz {
    /// Whether the service sees a header.
    #[must_use]
    pub fn tells(&self, name: &str) -> bool {
        let any = |patterns: &[StringMatch]| patterns.iter().any(|pattern| pattern.matches(name));
        self.allowed_headers.as_ref().is_none_or(|allowed| any(allowed)) && !any(&self.disallowed_headers)
    }
}
