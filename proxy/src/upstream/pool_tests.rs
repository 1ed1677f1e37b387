use super::*;

#[test]
fn an_observed_closing_shortens_what_is_believed_and_is_forgotten_later() {
    let pool = EndpointPool::default();
    let now = Instant::now();
    pool.learn(Duration::from_secs(5), SWEEP, now);
    let (seen, until) = pool.learned.get().expect("learned");
    assert!(seen < Duration::from_secs(4) && seen > Duration::from_secs(3), "{seen:?}");
    assert_eq!(until, now + MEMORY);
    pool.learn(Duration::from_secs(50), SWEEP, now);
    assert_eq!(pool.learned.get().map(|(seen, _)| seen), Some(seen), "a longer one changes nothing");
}

#[test]
fn a_closing_shortly_after_use_says_nothing_of_idle_time() {
    let pool = EndpointPool::default();
    pool.learn(Duration::from_millis(300), Duration::ZERO, Instant::now());
    assert_eq!(pool.learned.get(), None);
}
