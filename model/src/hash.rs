//! Hash functions that a proxy has in common with Envoy, so that both send a key to the same endpoint.

use twox_hash::XxHash64;

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;

/// Envoy's seed of MurmurHash2: the one of `std::hash` in libstdc++.
const MURMUR_SEED: u64 = 0xc70f_6907;

/// How the places of endpoints on a hash ring are found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum HashFunction {
    /// XXH64.
    #[default]
    XxHash,
    /// MurmurHash2, the variant of 64 bits for 64-bit machines.
    MurmurHash2,
}

impl HashFunction {
    /// The hash of a key.
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u64 {
        match self {
            Self::XxHash => xx_hash(key, 0),
            Self::MurmurHash2 => murmur_hash2(key, MURMUR_SEED),
        }
    }
}

/// XXH64 of a key.
#[must_use]
pub fn xx_hash(key: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, key)
}

/// MurmurHash64A (Austin Appleby, public domain).
#[must_use]
pub fn murmur_hash2(key: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (key.len() as u64).wrapping_mul(M);
    let (words, tail) = key.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = (hash ^ k).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> R)).wrapping_mul(M);
    hash ^ (hash >> R)
}
