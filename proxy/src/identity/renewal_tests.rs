use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn renewal_is_due_about_half_way() {
    let begin = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let due: Vec<_> =
        (0..200).map(|_| half_way(begin, begin + 10 * hour).duration_since(begin).unwrap()).collect();
    assert!(due.iter().all(|due| (hour * 45 / 10..=hour * 55 / 10).contains(due)));
    assert!(due.iter().max().unwrap().saturating_sub(*due.iter().min().unwrap()) > hour / 4, "spread");
    assert_eq!(half_way(begin, begin - hour), begin, "an expired one is due at once");
}

#[test]
fn retries_slow_down_to_a_minute() {
    assert!(retry_after(1) <= Duration::from_millis(625));
    for failures in [8, 100, u64::MAX] {
        let pause = retry_after(failures);
        assert!((LAST_RETRY * 3 / 4..=LAST_RETRY * 5 / 4).contains(&pause), "{pause:?}");
    }
}

/// A day goes by on the wall while the process' own timers see a moment, as after a laptop's sleep.
#[tokio::test]
async fn a_deadline_that_passed_while_the_machine_slept_is_met_at_the_next_look() {
    let start = SystemTime::now();
    let looks = Arc::new(AtomicU64::new(0));
    let clock = {
        let looks = Arc::clone(&looks);
        Clock::from_fn(move || match looks.fetch_add(1, Ordering::Relaxed) {
            0 => start,
            _ => start + Duration::from_secs(24 * 3600),
        })
    };
    let look = Duration::from_millis(1);
    tokio::time::timeout(
        Duration::from_secs(60),
        wait_until_looking_every(start + Duration::from_secs(3600), &clock, look),
    )
    .await
    .expect("it does not sleep for the hour");
    assert_eq!(looks.load(Ordering::Relaxed), 2);
}
