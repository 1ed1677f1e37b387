//! Cross-origin requests: which pages of other origins may call
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/cors_filter>). Configured by routes; the
//! listener only says where the filter stands.

use std::sync::Arc;

use http::HeaderValue;

use crate::matcher::StringMatch;
use crate::policy::Fraction;

/// Which pages may call, and what they may do.
#[derive(Clone, PartialEq, Debug)]
pub struct CorsPolicy {
    /// Origins; one must match.
    pub origins: Vec<StringMatch>,
    /// `access-control-allow-methods`; empty for none.
    pub methods: HeaderValue,
    /// `access-control-allow-headers`; empty for none.
    pub headers: HeaderValue,
    /// `access-control-expose-headers`; empty for none.
    pub expose: HeaderValue,
    /// `access-control-max-age`; empty for none.
    pub max_age: HeaderValue,
    /// Whether cookies and the like may be sent along.
    pub credentials: bool,
    /// Whether pages of public networks may call into this private one.
    pub private_network: bool,
    /// Share of requests that it is for.
    pub enabled: Fraction,
    /// A preflight of an origin that is not allowed is sent on (true, Envoy's default) or answered without any
    /// permission.
    pub forward_not_matching_preflights: bool,
}

impl CorsPolicy {
    /// Whether pages of an origin may call.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }
}

/// Shared, for it outlives the route's look-up.
pub type SharedCorsPolicy = Arc<CorsPolicy>;
