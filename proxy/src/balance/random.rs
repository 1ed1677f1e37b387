//! Any, by weight.

use super::rotation::Tier;

/// With equal weights any; else each with the chance of its weight.
pub(super) fn choose(tier: &mut Tier) -> usize {
    if tier.equal {
        return fastrand::usize(..tier.members.len());
    }
    let mut rest = fastrand::u64(..tier.total_weight.max(1));
    let at = tier.members.iter().position(|member| match rest.checked_sub(member.weight) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    });
    at.unwrap_or(0)
}
