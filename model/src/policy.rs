//! What a route does besides choosing a destination: time-outs, retries, faults, header changes.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::format::Template;
use crate::matcher::HeaderMatch;
use crate::subset::LbMetadata;

/// A share of requests, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fraction(u32);

impl Fraction {
    /// Every request.
    pub const ALL: Self = Self(1_000_000);

    /// `percent` of requests; values outside 0..=100 are brought to the nearest end.
    #[must_use]
    pub fn from_percent(percent: f64) -> Self {
        Self((percent.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// Of `millionths` in a million; more than a million is all.
    #[must_use]
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(1_000_000))
    }

    /// In millionths, 0..=1,000,000.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether a request that drew `random` (any number, evenly distributed) is of the share.
    #[must_use]
    pub fn includes(self, random: u32) -> bool {
        random % 1_000_000 < self.0
    }
}

/// What a failed attempt must look like to be tried again: Envoy's `retry_on` and `retry_grpc_on`
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RetryConditions(u32);

macro_rules! retry_conditions {
    ($($(#[$doc:meta])* $constant:ident = $bit:literal, $word:literal;)*) => {
        impl RetryConditions {
            $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*
            const WORDS: &[(Self, &'static str)] = &[$((Self::$constant, $word)),*];
        }
    };
}

retry_conditions! {
    /// Connecting failed or timed out.
    CONNECT_FAILURE = 0, "connect-failure";
    /// HTTP/2's REFUSED_STREAM: provably unprocessed.
    REFUSED_STREAM = 1, "refused-stream";
    /// The upstream closed or reset without an answer.
    RESET = 2, "reset";
    /// As `reset`, but only while no byte of the request was sent.
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    /// 502, 503 or 504.
    GATEWAY_ERROR = 4, "gateway-error";
    /// Any 5xx, or no answer.
    SERVER_ERROR = 5, "5xx";
    /// 409.
    RETRIABLE_4XX = 6, "retriable-4xx";
    /// One of the policy's status codes.
    STATUS_CODES = 7, "retriable-status-codes";
    /// gRPC status 1.
    GRPC_CANCELLED = 8, "cancelled";
    /// gRPC status 4.
    GRPC_DEADLINE_EXCEEDED = 9, "deadline-exceeded";
    /// gRPC status 13.
    GRPC_INTERNAL = 10, "internal";
    /// gRPC status 8.
    GRPC_RESOURCE_EXHAUSTED = 11, "resource-exhausted";
    /// gRPC status 14.
    GRPC_UNAVAILABLE = 12, "unavailable";
    /// The answer has `x-envoy-ratelimited`; without this condition such an answer is final.
    RATE_LIMITED = 13, "envoy-ratelimited";
    /// The answer has one of the policy's headers.
    RETRIABLE_HEADERS = 14, "retriable-headers";
}

impl RetryConditions {
    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The condition that Envoy calls `word`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(condition, _)| *condition)
    }

    /// Envoy's words of the set, in a fixed order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().filter(move |(condition, _)| self.contains(*condition)).map(|(_, word)| *word)
    }
}

/// When and how often a request is tried again.
#[derive(Clone, PartialEq, Debug)]
pub struct RetryPolicy {
    /// Further attempts at most, after the first. With [`Self::idempotent_only`] and [`Self::avoid_tried_endpoints`],
    /// what an endpoint provably did not process does not count, while there is an endpoint that was not tried.
    pub retries: u32,
    /// What a failed attempt must look like.
    pub conditions: RetryConditions,
    /// For [`RetryConditions::STATUS_CODES`].
    pub status_codes: Arc<[u16]>,
    /// Bound on one attempt; none means the request's own.
    pub per_try_timeout: Option<Duration>,
    /// Bound on the silence within one attempt; none: no bound.
    pub per_try_idle_timeout: Option<Duration>,
    /// Mean wait before the first retry; doubles with each, with full jitter.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// A request that may have been processed is sent again only when its method is idempotent (RFC 9110, 9.2.2).
    /// True unless the user named the conditions.
    pub idempotent_only: bool,
    /// Prefer endpoints that this request has not tried.
    pub avoid_tried_endpoints: bool,
    /// For [`RetryConditions::RETRIABLE_HEADERS`]: one of them must hold for the response.
    pub retriable_headers: Vec<HeaderMatch>,
    /// Only requests of which one of these holds are tried again; none: all are.
    pub retriable_request_headers: Vec<HeaderMatch>,
    /// An answer may say how long to wait.
    pub rate_limited: Option<RateLimitedBackOff>,
    /// Retries avoid endpoints whose metadata `envoy.lb` has `canary: true`.
    pub omit_canary_hosts: bool,
    /// Retries avoid endpoints that have all of this in their metadata `envoy.lb`; empty: none.
    pub omit_host_metadata: LbMetadata,
    /// After so many attempts the priorities that were tried are left out; none: priorities are as ever.
    pub previous_priorities: Option<u32>,
}

/// Waiting as an answer asks for, see
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimitedBackOff {
    /// Headers that may say it; the first that does counts.
    pub reset_headers: Vec<(HeaderName, ResetFormat)>,
    /// An answer that asks for more is not waited for: the other back-off holds.
    pub max_interval: Duration,
}

/// How a header says when to come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// Seconds since 1970.
    UnixTimestamp,
}

impl RateLimitedBackOff {
    /// Envoy's.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(300);
}

impl Default for RetryPolicy {
    /// One retry of nothing, with Envoy's back-off.
    fn default() -> Self {
        Self {
            retries: 1,
            conditions: RetryConditions::default(),
            status_codes: Arc::default(),
            per_try_timeout: None,
            per_try_idle_timeout: None,
            backoff_base: Self::BACKOFF_BASE,
            backoff_max: Self::BACKOFF_MAX,
            idempotent_only: false,
            avoid_tried_endpoints: false,
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            rate_limited: None,
            omit_canary_hosts: false,
            omit_host_metadata: LbMetadata::default(),
            previous_priorities: None,
        }
    }
}

impl RetryPolicy {
    /// Envoy's and Istio's back-off: 25 ms to 250 ms.
    pub const BACKOFF_BASE: Duration = Duration::from_millis(25);
    /// Ten times the base.
    pub const BACKOFF_MAX: Duration = Duration::from_millis(250);
}

/// A fault that is injected on purpose
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>).
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Fault {
    /// Wait so long, for that share of requests.
    pub delay: Option<(Duration, Fraction)>,
    /// Answer so, for that share of requests.
    pub abort: Option<(Abort, Fraction)>,
    /// Only requests to this cluster.
    pub upstream_cluster: Option<Arc<str>>,
    /// Only requests that fulfil all of it.
    pub headers: Vec<HeaderMatch>,
    /// So many requests have a fault at once, in one worker; none: no bound.
    pub max_active: Option<u32>,
    /// The request says how long it waits (`x-envoy-fault-delay-request`), for at most that share of requests.
    pub delay_by_header: Option<Fraction>,
    /// The request says how it is answered (`x-envoy-fault-abort-request`), for at most that share of requests.
    pub abort_by_header: Option<Fraction>,
}

impl Fault {
    /// Whether it never does anything.
    #[must_use]
    pub fn is_inert(&self) -> bool {
        self.delay.is_none()
            && self.abort.is_none()
            && self.delay_by_header.is_none()
            && self.abort_by_header.is_none()
    }
}

/// How an aborted request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abort {
    /// With this HTTP status, 200..=599.
    Http(u16),
    /// With HTTP 200 and this gRPC status.
    Grpc(u32),
}

/// Changes to a set of headers. What is added is evaluated on the headers as they came; then removals are made, then
/// values are replaced, then values are added, as Envoy does.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct HeaderMutations {
    /// Taken away.
    pub remove: Vec<HeaderName>,
    /// Given a value.
    pub add: Vec<HeaderChange>,
}

/// One header that is given a value.
#[derive(Clone, PartialEq, Debug)]
pub struct HeaderChange {
    /// Which.
    pub name: HeaderName,
    /// What it says.
    pub value: HeaderText,
    /// What becomes of the values that are there.
    pub action: AppendAction,
}

/// The value that a header is given.
#[derive(Clone, PartialEq, Debug)]
pub enum HeaderText {
    /// Always the same.
    Literal(HeaderValue),
    /// With Envoy's command operators. One that comes out empty leaves the header as it is, unless it is kept.
    Template {
        /// The text.
        template: Box<Template>,
        /// Whether an empty value is a value (`keep_empty_value`).
        keep_empty: bool,
    },
}

/// What becomes of the values that a header has, when it is given another: Envoy's `HeaderAppendAction`
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto>).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendAction {
    /// They stay.
    AppendIfExistsOrAdd,
    /// They stay, and the other is not added.
    AddIfAbsent,
    /// They go.
    OverwriteIfExistsOrAdd,
    /// They go; where there is none, there is none afterwards.
    OverwriteIfExists,
}

impl HeaderChange {
    /// The value replaces all others.
    #[must_use]
    pub fn set(name: HeaderName, value: HeaderValue) -> Self {
        Self { name, value: HeaderText::Literal(value), action: AppendAction::OverwriteIfExistsOrAdd }
    }

    /// The value comes beside the others.
    #[must_use]
    pub fn append(name: HeaderName, value: HeaderValue) -> Self {
        Self { name, value: HeaderText::Literal(value), action: AppendAction::AppendIfExistsOrAdd }
    }
}

impl HeaderMutations {
    /// Literal values only: `set` ones replace, `add` ones come beside.
    #[must_use]
    pub fn of(
        remove: Vec<HeaderName>,
        set: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
        add: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        let set = set.into_iter().map(|(name, value)| HeaderChange::set(name, value));
        let add = add.into_iter().map(|(name, value)| HeaderChange::append(name, value));
        Self { remove, add: set.chain(add).collect() }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Applies the changes; `evaluate` says what a template stands for, empty for nothing.
    pub fn apply(
        &self,
        headers: &mut http::HeaderMap,
        mut evaluate: impl FnMut(&Template, &http::HeaderMap) -> Vec<u8>,
    ) {
        let evaluated: Vec<Option<HeaderValue>> = self
            .add
            .iter()
            .filter_map(|change| match &change.value {
                HeaderText::Literal(_) => None,
                HeaderText::Template { template, keep_empty } => {
                    let text = evaluate(template, headers);
                    Some(HeaderValue::from_bytes(&text).ok().filter(|value| *keep_empty || !value.is_empty()))
                }
            })
            .collect();
        for name in &self.remove {
            headers.remove(name);
        }
        self.pass(headers, &evaluated, true);
        self.pass(headers, &evaluated, false);
    }

    fn pass(&self, headers: &mut http::HeaderMap, evaluated: &[Option<HeaderValue>], overwriting: bool) {
        use AppendAction as A;
        let mut evaluated = evaluated.iter();
        for HeaderChange { name, value, action } in &self.add {
            let value = match value {
                HeaderText::Literal(value) => Some(value),
                HeaderText::Template { .. } => evaluated.next().and_then(Option::as_ref),
            };
            let Some(value) = value else { continue };
            match action {
                A::OverwriteIfExistsOrAdd if overwriting => drop(headers.insert(name, value.clone())),
                A::OverwriteIfExists if overwriting && headers.contains_key(name) => {
                    headers.insert(name, value.clone());
                }
                A::AppendIfExistsOrAdd if !overwriting => drop(headers.append(name, value.clone())),
                A::AddIfAbsent if !overwriting && !headers.contains_key(name) => {
                    headers.append(name, value.clone());
                }
                _ => {}
            }
        }
    }
}
