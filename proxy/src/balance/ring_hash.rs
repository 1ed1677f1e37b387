//! A ring of hashes (Ketama): a key belongs to the next hash on the ring. Hashes are those of Envoy, so that both
//! find the same endpoint.

use weft_model::load_balancing::RingHash;

use super::hash_table::Keyed;

/// The ring: hashes in order, and whose each is. An endpoint has places by its weight; the least of them as many as
/// the smallest size asks for, the whole no more than the largest.
pub(super) fn build(ring: RingHash, keys: &[Keyed]) -> Vec<(u64, u32)> {
    let sum: u64 = keys.iter().map(|keyed| keyed.weight).sum();
    let share = |keyed: &Keyed| keyed.weight as f64 / sum.max(1) as f64;
    let least = keys.iter().map(share).fold(f64::INFINITY, f64::min);
    // So that the lightest gets a whole number of places.
    let scale = ((least * ring.minimum_size as f64).ceil() / least).min(ring.maximum_size as f64);
    let mut places = Vec::with_capacity(scale.ceil() as usize);
    let (mut current, mut target) = (0.0, 0.0);
    let mut text = String::new();
    for (owner, keyed) in keys.iter().enumerate() {
        text.clear();
        text.push_str(&keyed.key);
        text.push('_');
        let prefix = text.len();
        target += scale * share(keyed);
        let mut number = 0_u64;
        while current < target {
            text.truncate(prefix);
            text.push_str(&number.to_string());
            places.push((ring.function.hash(text.as_bytes()), owner as u32));
            number += 1;
            current += 1.0;
        }
    }
    places.sort_unstable();
    places
}

/// The first place at or after a hash; after the last comes the first.
pub(super) fn place(ring: &[(u64, u32)], hash: u64) -> usize {
    let at = ring.partition_point(|(place, _)| *place < hash);
    if at == ring.len() { 0 } else { at }
}
