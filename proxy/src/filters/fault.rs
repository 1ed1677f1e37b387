//! Faults injected on purpose: a delay, an answer instead of the upstream's. Bodies and details as Envoy's fault filter
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>).

use std::cell::Cell;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use weft_model::policy::{Abort, Fault, Fraction};

use super::chain::Passage;
use crate::body::Body;
use crate::error::ResponseFlag;
use crate::http::context::facts;
use crate::http::reply;

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;

/// What a request of a route with a fault gets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Injected {
    /// Wait first.
    pub delay: Option<Duration>,
    /// Then answer so.
    pub abort: Option<Abort>,
}

/// Draws for one request; each part is drawn for itself.
#[must_use]
pub fn draw(fault: &Fault, mut random: impl FnMut() -> u32) -> Injected {
    Injected {
        delay: fault.delay.filter(|(_, share)| share.includes(random())).map(|(delay, _)| delay),
        abort: fault.abort.filter(|(_, share)| share.includes(random())).map(|(abort, _)| abort),
    }
}

/// Milliseconds.
const DELAY_REQUEST: &str = "x-envoy-fault-delay-request";
const DELAY_PERCENTAGE: &str = "x-envoy-fault-delay-request-percentage";
/// A status.
const ABORT_REQUEST: &str = "x-envoy-fault-abort-request";
const ABORT_GRPC_REQUEST: &str = "x-envoy-fault-abort-grpc-request";
const ABORT_PERCENTAGE: &str = "x-envoy-fault-abort-request-percentage";

/// What the request itself asks for, where the fault lets it. The request may lower the share, not raise it.
#[must_use]
pub fn asked(fault: &Fault, headers: &HeaderMap) -> Fault {
    let number = |name: &str| -> Option<u32> { headers.get(name)?.to_str().ok()?.parse().ok() };
    let share = |most: Fraction, name: &str| match number(name) {
        Some(percent) => most.min(Fraction::from_percent(f64::from(percent))),
        None => most,
    };
    let mut asked = fault.clone();
    if let (Some(most), Some(millis)) = (fault.delay_by_header, number(DELAY_REQUEST)) {
        asked.delay = Some((Duration::from_millis(millis.into()), share(most, DELAY_PERCENTAGE)));
    }
    if let Some(most) = fault.abort_by_header {
        let http = number(ABORT_REQUEST).and_then(|status| u16::try_from(status).ok());
        let http = http.filter(|status| (200..600).contains(status)).map(Abort::Http);
        let abort = http.or_else(|| number(ABORT_GRPC_REQUEST).map(Abort::Grpc));
        asked.abort = abort.map(|abort| (abort, share(most, ABORT_PERCENTAGE)));
    }
    asked
}

thread_local! {
    /// Requests of this worker that have a fault right now.
    static ACTIVE: Cell<u32> = const { Cell::new(0) };
}

/// Counts a request with a fault for as long as it is there.
struct Active;

impl Active {
    fn enter(most: Option<u32>) -> Option<Self> {
        let now = ACTIVE.get();
        most.is_none_or(|most| now < most).then(|| {
            ACTIVE.set(now + 1);
            Self
        })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.set(ACTIVE.get().saturating_sub(1));
    }
}

/// Waits, answers, or does nothing.
pub(super) async fn inject(fault: &Fault, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    let facts = facts(passage.request, passage.context.downstream.scheme);
    let elsewhere = fault
        .upstream_cluster
        .as_ref()
        .is_some_and(|wanted| passage.cluster.is_none_or(|cluster| cluster.cluster != *wanted));
    if elsewhere || !fault.headers.iter().all(|header| header.matches(&facts)) {
        return None;
    }
    let injected = draw(&asked(fault, passage.request.headers()), || fastrand::u32(..));
    if injected == Injected::default() {
        return None;
    }
    let _active = Active::enter(fault.max_active)?;
    if let Some(delay) = injected.delay {
        passage.context.flags.insert(ResponseFlag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    let abort = injected.abort?;
    passage.context.flags.insert(ResponseFlag::FaultInjected);
    passage.context.details = "fault_filter_abort";
    Some(match abort {
        Abort::Http(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            reply::of_status(status, "fault filter abort", passage.context.grpc)
        }
        Abort::Grpc(status) => reply::of_grpc_status(status, "fault filter abort"),
    })
}
