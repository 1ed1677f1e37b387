use super::*;

fn limits(max_requests: u32, workers: u32) -> Rc<Limits> {
    Limits::new(CircuitBreakers { max_requests, ..CircuitBreakers::default() }, workers)
}

#[test]
fn what_is_over_the_bound_is_refused_until_one_ends() {
    let limits = limits(1, 1);
    let first = limits.enter(Bounded::Requests);
    assert!(first.is_some());
    assert!(limits.enter(Bounded::Requests).is_none());
    assert_eq!(limits.overflows(), 1);
    drop(first);
    assert!(limits.enter(Bounded::Requests).is_some());
}

#[test]
fn a_bound_is_divided_among_workers_and_rounded_up() {
    let limits = limits(3, 2);
    let _held: Vec<_> = (0..2).map(|_| limits.enter(Bounded::Requests).expect("within the bound")).collect();
    assert!(limits.enter(Bounded::Requests).is_none());
}

#[test]
fn a_bound_of_zero_allows_nothing() {
    assert!(limits(0, 4).enter(Bounded::Requests).is_none());
}

#[test]
fn a_retry_budget_is_a_share_of_what_is_under_way_and_never_less_than_its_least() {
    use weft_model::policy::Fraction;
    let budget = RetryBudget { budget: Fraction::from_percent(20.0), min_retry_concurrency: 2 };
    let bounds = CircuitBreakers { retry_budget: Some(budget), ..CircuitBreakers::default() };
    let limits = Limits::new(bounds, 1);
    let retry = || limits.enter_unbounded(Bounded::Retries);
    assert_eq!(limits.budget_allows(), Some(true));
    let _least = [retry(), retry()];
    assert_eq!(limits.budget_allows(), Some(false));
    let _requests: Vec<_> = (0..15).map(|_| limits.enter_unbounded(Bounded::Requests)).collect();
    assert_eq!(limits.budget_allows(), Some(true), "a fifth of 15 is 3");
    let _third = retry();
    assert_eq!(limits.budget_allows(), Some(false));
    assert_eq!(Limits::new(CircuitBreakers::default(), 1).budget_allows(), None);
}
