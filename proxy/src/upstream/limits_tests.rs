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
