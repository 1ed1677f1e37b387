use super::*;

#[test]
fn waits_grow_to_a_bound_and_begin_anew() {
    let mut waits = Waits::default();
    let all: Vec<Duration> = waits.by_ref().take(10).collect();
    assert!(all[0] <= FIRST_WAIT && all.iter().all(|wait| *wait <= LONGEST_WAIT));
    assert!(all[9] >= LONGEST_WAIT / 2);
    waits.reset();
    assert!(waits.next().unwrap() <= FIRST_WAIT);
}
