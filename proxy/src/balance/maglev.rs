//! A Maglev table (<https://research.google/pubs/maglev-a-fast-and-reliable-software-network-load-balancer/>): each
//! endpoint has its own order of places, and they take turns in taking the next that is free. Hashes are those of
//! Envoy, so that both find the same endpoint.

use weft_model::hash::xx_hash;

use super::hash_table::Keyed;

/// One that takes places.
struct Taker {
    owner: u32,
    /// Where its order begins, and how far apart its places are.
    offset: u64,
    skip: u64,
    weight: f64,
    /// Its turn comes when the round times its weight has reached this.
    target: f64,
    next: u64,
}

/// Whose each of `size` places is; `size` is a prime.
pub(super) fn build(size: u64, keys: &[Keyed]) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let heaviest = keys.iter().map(|keyed| keyed.weight).max().unwrap_or(1).max(1) as f64;
    let mut takers: Vec<(&str, Taker)> = keys
        .iter()
        .enumerate()
        .map(|(owner, keyed)| {
            let key = keyed.key.as_bytes();
            let taker = Taker {
                owner: owner as u32,
                offset: xx_hash(key, 0) % size,
                skip: xx_hash(key, 1) % (size - 1).max(1) + 1,
                weight: keyed.weight as f64,
                target: 0.0,
                next: 0,
            };
            (keyed.key.as_str(), taker)
        })
        .collect();
    // The order decides who is first where two want a place: it must not depend on the order of configuration.
    takers.sort_by_key(|(key, _)| *key);
    let mut table = vec![FREE; size as usize];
    let mut taken = 0;
    let mut round = 1.0;
    while taken < size && !takers.is_empty() {
        for (_, taker) in &mut takers {
            if taken == size {
                break;
            }
            if round * taker.weight < taker.target {
                continue;
            }
            taker.target += heaviest;
            // An order goes through all places, the size being a prime: this ends.
            while let Some(place) = table.get_mut(((taker.offset + taker.skip * taker.next) % size) as usize)
            {
                taker.next += 1;
                if *place == FREE {
                    *place = taker.owner;
                    taken += 1;
                    break;
                }
            }
        }
        round += 1.0;
    }
    table
}

/// The place of a hash.
pub(super) fn place(table: &[u32], hash: u64) -> usize {
    (hash % table.len().max(1) as u64) as usize
}
