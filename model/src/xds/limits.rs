//! Bounds on what is under way: those of the priorities DEFAULT and HIGH.

use weft_proto::xds::cluster as pb;
use weft_proto::xds::cluster::circuit_breakers::Thresholds;
use weft_proto::xds::cluster::circuit_breakers::thresholds;
use weft_proto::xds::core::RoutingPriority;
use weft_proto::xds::kind;
use weft_proto::xds::protobuf::UInt32Value;

use super::reader::{Reader, fields};
use super::wire::number;
use crate::cluster::{CircuitBreakers, RetryBudget};
use crate::policy::Fraction;

/// Envoy's retry budget where one is set without its parts: 20 percent, and never fewer than 3.
const DEFAULT_BUDGET: f64 = 20.0;
const DEFAULT_RETRY_CONCURRENCY: u32 = 3;

/// Bounds that are Envoy's own are left out for the priority HIGH.
pub(super) fn encode(limits: &CircuitBreakers, high: &CircuitBreakers) -> pb::CircuitBreakers {
    let mut thresholds = vec![encode_one(limits, RoutingPriority::Default)];
    if *high != CircuitBreakers::ENVOY {
        thresholds.push(encode_one(high, RoutingPriority::High));
    }
    pb::CircuitBreakers { thresholds, ..Default::default() }
}

fn encode_one(limits: &CircuitBreakers, priority: RoutingPriority) -> Thresholds {
    Thresholds {
        priority: priority as i32,
        max_connections: number(limits.max_connections),
        max_pending_requests: number(limits.max_pending_requests),
        max_requests: number(limits.max_requests),
        max_retries: number(limits.max_retries),
        retry_budget: limits.retry_budget.map(|budget| thresholds::RetryBudget {
            budget_percent: Some(kind::Percent { value: f64::from(budget.budget.millionths()) / 10_000.0 }),
            min_retry_concurrency: number(budget.min_retry_concurrency),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Of each priority the first bounds count, as in Envoy.
pub(super) fn decode(
    reader: &mut Reader,
    breakers: Option<pb::CircuitBreakers>,
) -> (CircuitBreakers, CircuitBreakers) {
    let breakers = breakers.unwrap_or_default();
    fields!(reader, breakers => pb::CircuitBreakers { thresholds; refused: per_host_thresholds });
    let (mut default, mut high) = (None, None);
    reader.each("thresholds", thresholds, |reader, one| {
        let is_high = one.priority == RoutingPriority::High as i32;
        let read = decode_one(reader, one)?;
        if is_high {
            high.get_or_insert(read)
        } else {
            default.get_or_insert(read)
        };
        Some(())
    });
    (default.unwrap_or(CircuitBreakers::ENVOY), high.unwrap_or(CircuitBreakers::ENVOY))
}

fn decode_one(reader: &mut Reader, one: Thresholds) -> Option<CircuitBreakers> {
    fields!(reader, one => Thresholds {
        max_connections, max_pending_requests, max_requests, max_retries, retry_budget;
        // A pool of Weft's belongs to an endpoint, of which the control plane decides how many there are.
        ignored: priority, track_remaining, max_connection_pools
    });
    let or = |value: Option<UInt32Value>, default| value.map_or(default, |value| value.value);
    let retry_budget = retry_budget.and_then(|budget| {
        reader.within("retry_budget", |reader| {
            fields!(reader, budget => thresholds::RetryBudget {
                budget_percent, min_retry_concurrency;
                refused: budget_interval
            });
            let percent = budget_percent.map_or(DEFAULT_BUDGET, |percent| percent.value);
            if !(0.0..=100.0).contains(&percent) {
                return reader.refuse_at("budget_percent", format!("{percent} is no percentage: 0 to 100"));
            }
            let min_retry_concurrency = or(min_retry_concurrency, DEFAULT_RETRY_CONCURRENCY);
            Some(RetryBudget { budget: Fraction::from_percent(percent), min_retry_concurrency })
        })
    });
    let envoy = CircuitBreakers::ENVOY;
    Some(CircuitBreakers {
        max_connections: or(max_connections, envoy.max_connections),
        max_pending_requests: or(max_pending_requests, envoy.max_pending_requests),
        max_requests: or(max_requests, envoy.max_requests),
        max_retries: or(max_retries, envoy.max_retries),
        retry_budget,
    })
}
