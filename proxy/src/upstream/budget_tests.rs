use std::time::Duration;

use super::*;

fn granted(budget: &RetryBudget, now: Instant, asked: usize) -> usize {
    (0..asked).filter(|_| budget.withdraw(now, 1, 1)).count()
}

#[test]
fn an_outage_gets_a_fifth_more_than_its_callers_ask_for() {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    granted(&budget, now, 1_000);
    let retries: usize = (0..1_000)
        .map(|_| {
            budget.deposit();
            granted(&budget, now, 2)
        })
        .sum();
    assert!((195..=201).contains(&retries), "{retries}");
}

#[test]
fn three_retries_a_second_are_always_there() {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    assert_eq!(granted(&budget, now, 1_000), 30, "the reserve");
    assert_eq!(granted(&budget, now + Duration::from_secs(1), 1_000), 3);
}

#[test]
fn retries_that_help_cost_nothing() {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    for _ in 0..1_000 {
        assert!(budget.withdraw(now, 1, 1));
        budget.refund();
    }
}

#[test]
fn a_fifth_of_the_requests_under_way_may_be_retries_even_with_no_token_left() {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    granted(&budget, now, 1_000);
    assert!(budget.withdraw(now, 100, 19));
    assert!(!budget.withdraw(now, 100, 20));
}
