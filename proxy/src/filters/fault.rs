//! Faults injected on purpose: a delay, an answer instead of the upstream's. Bodies and details as Envoy's fault filter
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>).

use std::time::Duration;

use weft_model::policy::{Abort, Fault};

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
