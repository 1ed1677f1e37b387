use super::*;

#[test]
fn every_duration_lies_within_its_bucket_and_buckets_touch() {
    for bucket in 1..BUCKETS {
        assert_eq!(bounds(bucket - 1).1, bounds(bucket).0, "{bucket}");
    }
    for micros in (0..200_000).chain((0..30).map(|p| (1 << p) * 37)) {
        let (low, high) = bounds(index(micros));
        assert!((low..high).contains(&micros) || index(micros) == BUCKETS - 1, "{micros}");
    }
    assert_eq!(index(u64::MAX), BUCKETS - 1);
}

#[test]
fn a_quantile_is_at_most_five_percent_off() {
    let mut counts = vec![0; BUCKETS];
    (1..=10_000_u64).for_each(|micros| counts[index(micros)] += 1);
    for (q, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
        let got = quantile(counts.iter().copied().enumerate(), q);
        assert!((got - exact).abs() / exact < 0.05, "{q}: {got}");
    }
    assert_eq!(quantile(std::iter::empty(), 0.5), 0.0);
}

#[test]
fn counts_beyond_all_bounds_have_a_quantile_too() {
    let counts = [(3, u64::MAX), (40, u64::MAX)];
    let (low, high) = bounds(40);
    assert!((low as f64..=high as f64).contains(&quantile(counts.into_iter(), 0.99)));
}
