//! What went wrong with a request: whose fault it was, whether trying again is safe, and what the client is told.
//!
//! Flags are Envoy's `%RESPONSE_FLAGS%`
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>), so that existing
//! log pipelines and alerts read them.

use std::fmt;

use http::StatusCode;

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;

/// Who failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorSource {
    /// The client, or its connection.
    Downstream,
    /// The server, or its connection.
    Upstream,
    /// This proxy: its configuration, its limits.
    Internal,
}

/// Why a response is not simply what the upstream said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ResponseFlag {
    /// The client broke the protocol.
    DownstreamProtocolError,
    /// The client closed before the response was complete.
    DownstreamConnectionTermination,
    /// A delay was injected.
    DelayInjected,
    /// A fault was injected.
    FaultInjected,
    /// No route matched.
    NoRouteFound,
    /// The route's cluster is not known.
    NoClusterFound,
    /// The cluster has no healthy endpoint.
    NoHealthyUpstream,
    /// Connecting upstream failed.
    UpstreamConnectionFailure,
    /// The upstream closed in the middle of a response.
    UpstreamConnectionTermination,
    /// A circuit breaker was open.
    UpstreamOverflow,
    /// The upstream broke the protocol.
    UpstreamProtocolError,
    /// The upstream reset the stream.
    UpstreamRemoteReset,
    /// All attempts were used.
    UpstreamRetryLimitExceeded,
    /// The request's time was up.
    UpstreamRequestTimeout,
    /// The stream saw no byte for too long.
    StreamIdleTimeout,
    /// An overload or size limit of this proxy.
    OverloadManager,
    /// A rate limit was reached.
    RateLimited,
    /// A service said that it is not allowed.
    UnauthorizedExternalService,
    /// The cluster's load assignment refuses a share of requests.
    DropOverload,
}

impl ResponseFlag {
    /// Envoy's short form.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::DownstreamProtocolError => "DPE",
            Self::DownstreamConnectionTermination => "DC",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::NoRouteFound => "NR",
            Self::NoClusterFound => "NC",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamOverflow => "UO",
            Self::UpstreamProtocolError => "UPE",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamRetryLimitExceeded => "URX",
            Self::UpstreamRequestTimeout => "UT",
            Self::StreamIdleTimeout => "SI",
            Self::OverloadManager => "OM",
            Self::RateLimited => "RL",
            Self::UnauthorizedExternalService => "UAEX",
            Self::DropOverload => "DO",
        }
    }
}

/// A set of [`ResponseFlag`]s, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// Adds a flag.
    pub fn insert(&mut self, flag: ResponseFlag) {
        self.0 |= 1 << flag as u32;
    }

    /// Whether the flag was added.
    #[must_use]
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & (1 << flag as u32) != 0
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Short forms joined by commas; `-` when there is none.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ResponseFlag as F;
        const ALL: [ResponseFlag; 19] = [
            F::DownstreamProtocolError,
            F::DownstreamConnectionTermination,
            F::DelayInjected,
            F::FaultInjected,
            F::NoRouteFound,
            F::NoClusterFound,
            F::NoHealthyUpstream,
            F::UpstreamConnectionFailure,
            F::UpstreamConnectionTermination,
            F::UpstreamOverflow,
            F::UpstreamProtocolError,
            F::UpstreamRemoteReset,
            F::UpstreamRetryLimitExceeded,
            F::UpstreamRequestTimeout,
            F::StreamIdleTimeout,
            F::OverloadManager,
            F::RateLimited,
            F::UnauthorizedExternalService,
            F::DropOverload,
        ];
        let mut separator = "";
        for flag in ALL.into_iter().filter(|flag| self.contains(*flag)) {
            write!(f, "{separator}{}", flag.short())?;
            separator = ",";
        }
        if self.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

/// What is known of where a failed request got to. Decides whether it may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing of it reached an upstream application: sending it again is always safe.
    Unprocessed,
    /// It may have been processed: only an idempotent request, or a policy that says so, may send it again.
    MaybeProcessed,
}

/// A request that this proxy must answer itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProxyError {
    /// Who failed.
    pub fault: ErrorSource,
    /// Whether it may be sent again.
    pub progress: Progress,
    /// What the client gets.
    pub status: StatusCode,
    /// What the access log gets.
    pub flag: ResponseFlag,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// One sentence for the client: what is wrong and which object says so. Never holds secrets.
    pub message: String,
}
