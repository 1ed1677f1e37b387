//! What a rule does with a request.

use std::sync::Arc;

use ::http::StatusCode;

use super::{
    AbortStatus, FaultAbort, FaultDelay, Headers, HttpDirectResponse, HttpFault, HttpMatchRequest,
    HttpRedirect, HttpRetry, HttpRewrite, RedirectPort, RetryCondition,
};
use crate::source::diagnostic::code;
use crate::source::fields::{Field, Fields, did_you_mean};
use crate::source::kinds::istio;
use crate::source::words::{Percentage, StringMatch};

/// Longest body of a direct response, as Envoy's default (<https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPBody>).
const MAX_BODY: usize = 1 << 20;

pub(super) fn headers(field: &Field<'_>) -> Option<Headers> {
    field.message(|f| {
        let one = |name: &'static str| {
            f.optional(name)
                .map_or_else(|| Some(Default::default()), |field| istio::header_operations(&field))
        };
        let (request, response) = (one("request"), one("response"));
        Some(Headers { request: request?, response: response? })
    })
}

fn status(field: &Field<'_>, low: i64, high: i64) -> Option<StatusCode> {
    field.integer::<u16>(low..=high).and_then(|status| StatusCode::from_u16(status).ok())
}

pub(super) fn redirect(field: &Field<'_>) -> Option<HttpRedirect> {
    field.message(|f| {
        let text = |name: &'static str| f.optional(name).and_then(|field| field.nonempty()).map(Arc::from);
        f.exclusive(&["port", "derivePort"]);
        let port = f.optional("port").and_then(|field| field.port()).map(RedirectPort::Port);
        let derived = f.optional("derivePort").and_then(|field| {
            field.choice(&[
                ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
                ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
            ])
        });
        let scheme =
            f.optional("scheme").and_then(|field| field.choice(&[("http", "http"), ("https", "https")]));
        let code = match f.optional("redirectCode") {
            None => Some(StatusCode::MOVED_PERMANENTLY),
            Some(field) => {
                let code = status(&field, 300, 399)?;
                if !matches!(code.as_u16(), 301 | 302 | 303 | 307 | 308) {
                    field.invalid(
                        format!("{} is no status of a redirect", code.as_u16()),
                        "one of 301, 302, 303, 307, 308",
                    );
                }
                Some(code)
            }
        };
        let (uri, authority) = (text("uri"), text("authority"));
        Some(HttpRedirect {
            uri,
            authority,
            port: port.or(derived),
            scheme: scheme.map(Arc::from),
            status: code?,
        })
    })
}

pub(super) fn direct_response(field: &Field<'_>) -> Option<HttpDirectResponse> {
    field.message(|f| {
        let status = f.required("status").and_then(|field| status(&field, 200, 599));
        let body = f.optional("body").and_then(|field| {
            field.message(|f| {
                f.exclusive(&["string", "bytes"]);
                let text =
                    f.optional("string").and_then(|field| field.text()).map(|text| text.as_bytes().to_vec());
                let bytes = f.optional("bytes").and_then(|field| {
                    field.parse(|text| {
                        use base64::Engine as _;
                        base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| {
                            crate::source::fields::Problem::new(format!("not base64: {error}"), "")
                        })
                    })
                });
                text.or(bytes)
            })
        });
        let body = body.unwrap_or_default();
        if body.len() > MAX_BODY {
            f.here().invalid(
                format!(
                    "the body has {} bytes; at most {MAX_BYTES} are allowed",
                    body.len(),
                    MAX_BYTES = MAX_BODY
                ),
                "",
            );
        }
        Some(HttpDirectResponse { status: status?, body: body.into() })
    })
}

pub(super) fn rewrite(field: &Field<'_>, matches: &[HttpMatchRequest]) -> Option<HttpRewrite> {
    field.message(|f| {
        f.unsupported(&["uriRegexRewrite"]);
        let uri = f.optional("uri").and_then(|field| field.nonempty());
        let authority = f.optional("authority").and_then(|field| field.nonempty());
        if !f.has("uri") && !f.has("authority") && !f.has("uriRegexRewrite") {
            f.here().invalid("the rewrite changes nothing", "add `uri` or `authority`");
        }
        let by_regex = matches.iter().any(|m| matches!(m.uri, Some(StringMatch::Regex(_))));
        if uri.is_some() && by_regex {
            f.here().warn(
                code::NO_EFFECT,
                "with a regular expression in `uri` the whole path is replaced",
                "match by `prefix` to replace a part",
            );
        }
        Some(HttpRewrite { uri: uri.map(Arc::from), authority: authority.map(Arc::from) })
    })
}

pub(super) fn retries(field: &Field<'_>) -> Option<HttpRetry> {
    field.message(|f| {
        // Absent is protobuf's default, which switches retries off in Istio.
        let attempts = f.optional("attempts").map_or(Some(0), |field| field.count());
        let per_try_timeout = f.optional("perTryTimeout").and_then(|field| istio::duration_or_zero(&field));
        let retry_on = f.optional("retryOn").map(|field| conditions(&field));
        f.unsupported(&["retryRemoteLocalities"]);
        let previous = f.optional("retryIgnorePreviousHosts").and_then(|field| field.flag());
        let backoff = f.optional("backoff").and_then(|field| istio::duration(&field));
        if attempts == Some(0) && (per_try_timeout.is_some() || retry_on.is_some()) {
            f.here().warn(
                code::NO_EFFECT,
                "without `attempts` there are no retries",
                "add `attempts`, the number of retries",
            );
        }
        Some(HttpRetry {
            field: f.path(),
            attempts: attempts?,
            per_try_timeout: per_try_timeout.filter(|timeout| !timeout.is_zero()),
            retry_on: retry_on.filter(|conditions| !conditions.is_empty()),
            retry_ignore_previous_hosts: previous.unwrap_or(true),
            backoff,
        })
    })
}

const CONDITIONS: &[(&str, RetryCondition)] = &[
    ("5xx", RetryCondition::ServerError),
    ("gateway-error", RetryCondition::GatewayError),
    ("reset", RetryCondition::Reset),
    ("reset-before-request", RetryCondition::ResetBeforeRequest),
    ("connect-failure", RetryCondition::ConnectFailure),
    ("envoy-ratelimited", RetryCondition::RateLimited),
    ("retriable-4xx", RetryCondition::Retriable4xx),
    ("refused-stream", RetryCondition::RefusedStream),
    ("retriable-status-codes", RetryCondition::RetriableStatusCodes),
    ("retriable-headers", RetryCondition::RetriableHeaders),
    ("http3-post-connect-failure", RetryCondition::Http3PostConnectFailure),
    ("cancelled", RetryCondition::GrpcCancelled),
    ("deadline-exceeded", RetryCondition::GrpcDeadlineExceeded),
    ("internal", RetryCondition::GrpcInternal),
    ("resource-exhausted", RetryCondition::GrpcResourceExhausted),
    ("unavailable", RetryCondition::GrpcUnavailable),
];

/// A list with commas: names of conditions, and statuses.
fn conditions(field: &Field<'_>) -> Vec<RetryCondition> {
    let mut conditions = Vec::new();
    for word in field.text().unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let named = CONDITIONS.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition);
        let status =
            word.parse().ok().filter(|status| (100..=599).contains(status)).map(RetryCondition::Status);
        match named.or(status) {
            Some(condition) => conditions.push(condition),
            None => {
                let hint = did_you_mean(word, CONDITIONS.iter().map(|(name, _)| *name))
                    .unwrap_or_else(|| "conditions such as 5xx, gateway-error, connect-failure, refused-stream, or a status such as 503".to_owned());
                field.invalid(format!("`{word}` is no condition of `retryOn`"), hint);
            }
        }
    }
    conditions
}

pub(super) fn fault(field: &Field<'_>) -> Option<HttpFault> {
    field.message(|f| {
        let delay = f.optional("delay").map(|field| {
            field.message(|f| {
                f.unsupported(&["exponentialDelay"]);
                let fixed_delay = f.required("fixedDelay").and_then(|field| istio::duration(&field));
                let percentage = share(f, "delayed");
                Some(FaultDelay { fixed_delay: fixed_delay?, percentage: percentage? })
            })
        });
        let abort = f.optional("abort").map(|field| field.message(abort));
        if delay.is_none() && abort.is_none() {
            f.here().invalid("the fault does nothing", "add `delay` or `abort`");
        }
        let (delay, abort) =
            (delay.map_or(Some(None), |d| d.map(Some)), abort.map_or(Some(None), |a| a.map(Some)));
        Some(HttpFault { field: f.path(), delay: delay?, abort: abort? })
    })
}

fn abort(f: &Fields<'_>) -> Option<FaultAbort> {
    f.unsupported(&["http2Error"]);
    f.exclusive(&["httpStatus", "grpcStatus"]);
    let http = f.optional("httpStatus").map(|field| status(&field, 200, 599));
    let grpc = f.optional("grpcStatus").map(|field| grpc_status(&field));
    let percentage = share(f, "aborted");
    let status = match (http, grpc) {
        (Some(http), _) => AbortStatus::Http(http?),
        (None, Some(grpc)) => AbortStatus::Grpc(grpc?),
        (None, None) => {
            f.here().refuse(
                code::MISSING_FIELD,
                "`httpStatus` or `grpcStatus` is missing",
                "such as `httpStatus: 503`",
            );
            return None;
        }
    };
    Some(FaultAbort { status, percentage: percentage? })
}

/// `percentage`, or its old form `percent`; none when absent, which is seldom meant.
fn share(f: &Fields<'_>, done: &str) -> Option<Percentage> {
    f.exclusive(&["percentage", "percent"]);
    let percentage = f.optional("percentage").map(|field| istio::percentage(&field));
    let percent = f.optional("percent").map(|field| {
        field.warn(
            code::DEPRECATED,
            "`percent` is the old form of `percentage`",
            "write `percentage: {value: …}`",
        );
        field.number(0.0..=100.0).and_then(Percentage::new)
    });
    percentage.or(percent).unwrap_or_else(|| {
        let message = format!("without `percentage` no request is {done}");
        f.here().warn(code::NO_EFFECT, message, "add `percentage: {value: 100}` for all requests");
        Some(Percentage::default())
    })
}

const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// By name, as Istio takes it, or by number in quotes.
fn grpc_status(field: &Field<'_>) -> Option<u8> {
    let text = field.nonempty()?;
    let by_name = GRPC.iter().position(|name| *name == text).and_then(|index| u8::try_from(index).ok());
    let by_number = text.parse().ok().filter(|number| *number < 17);
    by_name.or(by_number).or_else(|| {
        let hint = did_you_mean(text, GRPC.into_iter()).unwrap_or_else(|| "such as UNAVAILABLE".to_owned());
        field.invalid(format!("`{text}` is no gRPC status"), hint);
        None
    })
}
