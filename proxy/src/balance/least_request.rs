//! The one with fewer requests under way.

use weft_model::load_balancing::LeastRequest;

use super::rotation::Tier;
use super::round_robin::smooth;

/// Keeps weights divided by requests under way apart.
const SCALE: u64 = 1_000;

/// With equal weights the better of two (or more) different ones drawn at random, which is nearly as good as the best
/// of all and does not make all workers run to the same endpoint. Else, as Envoy does, weighted round robin where a
/// weight counts less the more requests are under way.
pub(super) fn choose(tier: &mut Tier, least: &LeastRequest) -> usize {
    let bias = least.active_request_bias;
    if least.full_scan {
        return scan(tier);
    }
    if !tier.equal {
        return if (bias - 1.0).abs() < f64::EPSILON {
            smooth(tier, |weight, active| weight * SCALE / (u64::from(active) + 1))
        } else {
            smooth(tier, |weight, active| {
                (((weight * SCALE) as f64 / (f64::from(active) + 1.0).powf(bias)) as u64).max(1)
            })
        };
    }
    let count = tier.members.len();
    if count == 1 {
        return 0;
    }
    let one = fastrand::usize(..count);
    let mut other = fastrand::usize(..count - 1);
    if other >= one {
        other += 1;
    }
    let active = |at: usize| tier.members[at].state.active();
    let mut best = if active(other) < active(one) { other } else { one };
    // Further ones may be drawn twice, as in Envoy.
    for _ in 2..least.choice_count {
        let another = fastrand::usize(..count);
        if active(another) < active(best) {
            best = another;
        }
    }
    best
}

/// The best of all; of equal ones any.
fn scan(tier: &Tier) -> usize {
    let (mut best, mut least, mut equals) = (0, u32::MAX, 0_u32);
    for (at, member) in tier.members.iter().enumerate() {
        let active = member.state.active();
        if active < least {
            (best, least, equals) = (at, active, 1);
        } else if active == least {
            equals += 1;
            if fastrand::u32(..equals) == 0 {
                best = at;
            }
        }
    }
    best
}
