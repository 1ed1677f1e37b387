use super::*;

const POLICY: PeakEwma =
    PeakEwma { decay_time: Duration::from_secs(10), default_rtt: Duration::from_millis(30) };

#[test]
fn a_peak_counts_at_once_and_fades_slowly() {
    let latency = Latency::default();
    let start = Instant::now();
    assert!((latency.seconds(&POLICY, start) - 0.030).abs() < 1e-9, "nothing known");
    latency.observe(Duration::from_millis(10), &POLICY, start);
    latency.observe(Duration::from_millis(500), &POLICY, start);
    assert!((latency.seconds(&POLICY, start) - 0.5).abs() < 1e-9);
    let later = start + Duration::from_secs(1);
    latency.observe(Duration::from_millis(10), &POLICY, later);
    let now = latency.seconds(&POLICY, later);
    assert!((0.4..0.5).contains(&now), "one good answer does not make up for it: {now}");
    let much_later = later + Duration::from_secs(60);
    assert!(latency.seconds(&POLICY, much_later) < 0.005, "silence is forgiven");
}
