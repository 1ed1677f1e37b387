//! Trace context: which trace a request belongs to, and the span this proxy adds to it.
//!
//! W3C `traceparent` (<https://www.w3.org/TR/trace-context/>) is preferred; B3, single and multiple
//! (<https://github.com/openzipkin/b3-propagation>), is understood and kept up to date where the client sends it. The
//! workload must copy the headers from the requests it gets to those it sends, as with every mesh.

use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
#[path = "trace_context_tests.rs"]
mod tests;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// One proxy's part of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Of the whole trace; never 0.
    pub trace: u128,
    /// Of this part; never 0.
    pub span: u64,
    /// The part that led to it; none at the beginning of a trace.
    pub parent: Option<u64>,
    /// Whether it is to be exported.
    pub sampled: bool,
}

/// Whether spans are made, and of how many traces.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// Share of the traces that begin here, 0.0..=1.0. Traces that began elsewhere are sampled as was decided there.
    pub share: f64,
}

/// Continues the request's trace, or begins one, and tells the upstream.
pub fn continue_trace(headers: &mut HeaderMap, sampling: Sampling) -> Span {
    let came = received(headers);
    let span = fastrand::u64(1..);
    let span = match came {
        Some(context) => Span {
            trace: context.trace,
            span,
            parent: Some(context.span),
            sampled: context.sampled.unwrap_or_else(|| fastrand::f64() < sampling.share),
        },
        None => {
            let sampled = asked_for(headers).unwrap_or_else(|| fastrand::f64() < sampling.share);
            Span { trace: fastrand::u128(1..), span, parent: None, sampled }
        }
    };
    send(headers, span);
    span
}

struct Received {
    trace: u128,
    span: u64,
    sampled: Option<bool>,
}

fn received(headers: &HeaderMap) -> Option<Received> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(context) = text(&TRACEPARENT).and_then(traceparent) {
        return Some(context);
    }
    if let Some(context) = text(&B3).and_then(b3) {
        return Some(context);
    }
    let trace = text(&B3_TRACE).and_then(trace_id)?;
    let span = text(&B3_SPAN).and_then(span_id)?;
    Some(Received { trace, span, sampled: asked_for(headers) })
}

/// `VERSION-TRACE-PARENT-FLAGS`; later versions may have more parts (section 3.2.4).
fn traceparent(text: &str) -> Option<Received> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let sizes = lower_hex(version, 2) && lower_hex(trace, 32) && lower_hex(span, 16) && lower_hex(flags, 2);
    if !sizes || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Received { trace: trace_id(trace)?, span: span_id(span)?, sampled: Some(flags & 1 == 1) })
}

/// `TRACE-SPAN[-STATE[-PARENT]]`.
fn b3(text: &str) -> Option<Received> {
    let mut parts = text.trim().split('-');
    let (trace, span) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    Some(Received { trace, span, sampled: parts.next().and_then(b3_state) })
}

fn b3_state(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// What B3 says of sampling without saying anything of a trace.
fn asked_for(headers: &HeaderMap) -> Option<bool> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(&B3_FLAGS) == Some("1") {
        return Some(true);
    }
    text(&B3_SAMPLED).or_else(|| text(&B3).filter(|b3| b3.len() == 1)).and_then(b3_state)
}

/// 16 or 32 hexadecimal digits, not all 0.
fn trace_id(text: &str) -> Option<u128> {
    let fits = matches!(text.len(), 16 | 32) && text.bytes().all(|b| b.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|id| fits && *id != 0)
}

fn span_id(text: &str) -> Option<u64> {
    let fits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|id| fits && *id != 0)
}

fn send(headers: &mut HeaderMap, span: Span) {
    let Span { trace, span, parent, sampled } = span;
    let state = u8::from(sampled);
    let mut set = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    set(TRACEPARENT, format!("00-{trace:032x}-{span:016x}-{state:02x}"));
    if headers.contains_key(B3) {
        headers.insert(
            B3,
            HeaderValue::try_from(format!("{trace:032x}-{span:016x}-{state}"))
                .unwrap_or_else(|_| HeaderValue::from_static("0")),
        );
    }
    if headers.contains_key(B3_TRACE) {
        for (name, text) in [
            (B3_TRACE, Some(format!("{trace:032x}"))),
            (B3_SPAN, Some(format!("{span:016x}"))),
            (B3_PARENT, parent.map(|parent| format!("{parent:016x}"))),
            (B3_SAMPLED, Some(state.to_string())),
        ] {
            match text.and_then(|text| HeaderValue::try_from(text).ok()) {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }
    if parent.is_none() {
        // It belonged to a context that was not understood.
        headers.remove(TRACESTATE);
    }
}
