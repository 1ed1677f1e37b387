//! One after the other, by weight.

use super::rotation::Tier;

/// With equal weights the next in line; else smooth weighted round robin: each endpoint saves up its weight every
/// turn, the richest is chosen and pays the sum, so that a heavy endpoint's turns are spread out.
pub(super) fn choose(tier: &mut Tier) -> usize {
    if tier.equal {
        tier.cursor = (tier.cursor + 1) % tier.members.len();
        return tier.cursor;
    }
    smooth(tier, |weight, _| weight)
}

/// The smooth turn with weights that `weigh` gives for an endpoint's weight and requests under way.
pub(super) fn smooth(tier: &mut Tier, weigh: impl Fn(u64, u32) -> u64) -> usize {
    let mut sum = 0;
    let mut best = (0, i64::MIN);
    for (at, member) in tier.members.iter().enumerate() {
        let weight = weigh(member.weight, member.state.active()) as i64;
        sum += weight;
        let credit = member.state.credit.get().saturating_add(weight);
        member.state.credit.set(credit);
        if credit > best.1 {
            best = (at, credit);
        }
    }
    if let Some(chosen) = tier.members.get(best.0) {
        chosen.state.credit.set(best.1 - sum);
    }
    best.0
}
