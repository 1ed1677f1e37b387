//! Tables that a request's hash is looked up in: made once when the endpoints change, asked for every request.

use std::net::SocketAddr;

use weft_model::endpoint::Endpoint;
use weft_model::load_balancing::LoadBalancing;
use weft_model::subset::MetadataValue;

use super::rotation::Tier;
use super::{maglev, ring_hash};

#[cfg(test)]
#[path = "hash_table_tests.rs"]
mod tests;

/// Envoy's key of metadata `envoy.lb` that an endpoint is known by instead of its address.
const HASH_KEY: &str = "hash_key";

/// A key to put into a table, and the share that it is to get.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) key: String,
    /// Of the sum of all weights; more than 0.
    pub(super) weight: u64,
}

/// A table.
#[derive(Debug)]
pub(super) enum HashTable {
    /// Hashes in order, and whose they are.
    Ring(Vec<(u64, u32)>),
    /// Whose each place is.
    Maglev(Vec<u32>),
}

impl HashTable {
    /// None for an algorithm without a table, and for no keys.
    pub(super) fn new(algorithm: LoadBalancing, keys: &[Keyed]) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        match algorithm {
            LoadBalancing::RingHash(ring) => Some(Self::Ring(ring_hash::build(ring, keys))),
            LoadBalancing::Maglev(maglev) => Some(Self::Maglev(maglev::build(maglev.table_size, keys))),
            _ => None,
        }
    }

    /// The place of a hash.
    fn place(&self, hash: u64) -> usize {
        match self {
            Self::Ring(ring) => ring_hash::place(ring, hash),
            Self::Maglev(table) => maglev::place(table, hash),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.len(),
            Self::Maglev(table) => table.len(),
        }
    }

    /// Whose a place is; places go on from the beginning.
    fn owner(&self, place: usize) -> usize {
        let at = place % self.len().max(1);
        let owner = match self {
            Self::Ring(ring) => ring.get(at).map(|(_, owner)| *owner),
            Self::Maglev(table) => table.get(at).copied(),
        };
        owner.unwrap_or(0) as usize
    }

    /// Whose a hash is.
    pub(super) fn find(&self, hash: u64) -> usize {
        self.owner(self.place(hash))
    }

    /// As [`HashTable::find`], going on from place to place while `is_full` says so of the owner.
    fn find_with_room(&self, hash: u64, owners: usize, is_full: impl Fn(usize) -> bool) -> usize {
        let first = self.place(hash);
        let mut refused = 0;
        let mut last = usize::MAX;
        for step in 0..self.len() {
            let owner = self.owner(first + step);
            if owner == last {
                continue;
            }
            if !is_full(owner) {
                return owner;
            }
            last = owner;
            refused += 1;
            // All have probably been seen: some always has room, so that this is only a bound on the search.
            if refused > owners * 8 {
                break;
            }
        }
        (0..owners).find(|owner| !is_full(*owner)).unwrap_or_else(|| self.owner(first))
    }
}

/// What an endpoint is known by: what its metadata says, its host name, or its address.
pub(super) fn key_of(endpoint: &Endpoint, by_hostname: bool) -> String {
    let address = |address: SocketAddr| address.to_string();
    match endpoint.metadata.value(HASH_KEY) {
        Some(MetadataValue::Text(key)) if !key.is_empty() => key.to_string(),
        _ if by_hostname && !endpoint.hostname.is_empty() => endpoint.hostname.to_string(),
        _ => address(endpoint.address),
    }
}

/// The one that a hash leads to. `total` is what is under way at all of the cluster's endpoints, and with a balance
/// factor one that has more than its part of it, times the factor, is passed over
/// (<https://research.google/blog/consistent-hashing-with-bounded-loads/>).
pub(super) fn choose(tier: &Tier, hash: u64, factor: Option<u32>, total: u32) -> usize {
    let Some(table) = &tier.table else { return 0 };
    let Some(factor) = factor else { return table.find(hash) };
    let sum = tier.total_weight.max(1) as f64;
    let allowed = f64::from(total.saturating_add(1)) * f64::from(factor) / 100.0;
    table.find_with_room(hash, tier.members.len(), |owner| {
        tier.members.get(owner).is_none_or(|member| {
            let part = (allowed * member.weight as f64 / sum).ceil().max(1.0);
            f64::from(member.state.active()) >= part
        })
    })
}
