//! The latency histogram that sidecars report: log-linear, so that a quantile is at most 5 % off, in few buckets.
//!
//! Durations under 32 µs have a bucket each. Above, every power of two is cut into 16 equal parts, so a bucket is
//! at most 1/16 of its lower bound wide and its middle at most 3.2 % from any value in it.

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;

/// Number of buckets; the last also holds everything longer (about 19 hours).
pub const BUCKETS: usize = 32 + 31 * 16;

/// The bucket of a duration in microseconds.
#[must_use]
pub fn index(micros: u64) -> usize {
    if micros < 32 {
        return micros as usize;
    }
    let log = 63 - micros.leading_zeros() as usize;
    let part = (micros >> (log - 4)) as usize & 15;
    (32 + (log - 5) * 16 + part).min(BUCKETS - 1)
}

/// The shortest duration of a bucket and the shortest of the next, in microseconds.
#[must_use]
pub fn bounds(index: usize) -> (u64, u64) {
    if index < 32 {
        return (index as u64, index as u64 + 1);
    }
    let (log, part) = ((index - 32) / 16 + 5, (index - 32) % 16);
    let width = 1_u64 << (log - 4);
    let low = (16 + part as u64) * width;
    (low, low + width)
}

/// The duration in microseconds below which the share `q` (0..=1) of the counted ones lie; 0 when none was counted.
/// `counts` are (bucket, count) pairs in ascending order of bucket.
#[must_use]
pub fn quantile(counts: impl Iterator<Item = (usize, u64)> + Clone, q: f64) -> f64 {
    // Not as integers: counts come from others, and their sum may be more than these hold.
    let total: f64 = counts.clone().map(|(_, n)| n as f64).sum();
    let rank = (q.clamp(0.0, 1.0) * total).max(1.0);
    let mut seen = 0.0;
    for (bucket, n) in counts {
        let (low, high) = bounds(bucket);
        if n > 0 && seen + n as f64 >= rank {
            return low as f64 + (high - low) as f64 * ((rank - seen) / n as f64);
        }
        seen += n as f64;
    }
    0.0
}
