//! The one with fewer requests under way.

use super::rotation::Tier;
use super::round_robin::smooth;

/// Keeps weights divided by requests under way apart.
const SCALE: u64 = 1_000;

/// With equal weights the better of two different ones drawn at random, which is nearly as good as the best of all
/// and does not make all workers run to the same endpoint. Else, as Envoy does, weighted round robin where a weight
/// counts less the more requests are under way.
pub(super) fn choose(tier: &mut Tier) -> usize {
    if !tier.equal {
        return smooth(tier, |weight, active| weight * SCALE / (u64::from(active) + 1));
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
    if active(other) < active(one) { other } else { one }
}
