use std::collections::HashMap;
use std::time::Duration;

use weft_model::endpoint::{Health, Locality, LocalityEndpoints};
use weft_model::load_balancing::LocalityBalancing;

use super::*;

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn endpoint(n: u8, weight: u32, health: Health) -> Arc<Endpoint> {
    Arc::new(Endpoint { health, weight, ..Endpoint::new(address(n)) })
}

fn locality(priority: u32, weight: u32, endpoints: Vec<Arc<Endpoint>>) -> LocalityEndpoints {
    LocalityEndpoints { locality: Locality::default(), priority, weight, endpoints }
}

fn set(localities: Vec<LocalityEndpoints>) -> Arc<EndpointSet> {
    Arc::new(EndpointSet { cluster: "c".into(), localities, policy: Default::default() })
}

fn healthy(numbers: std::ops::RangeInclusive<u8>) -> Vec<Arc<Endpoint>> {
    numbers.map(|n| endpoint(n, 1, Health::Healthy)).collect()
}

fn balancer(algorithm: LoadBalancing, localities: Vec<LocalityEndpoints>) -> LoadBalancer {
    let mut balancer = LoadBalancer::new(algorithm, Balancing::default(), None);
    balancer.update(&set(localities));
    balancer
}

fn draws(balancer: &mut LoadBalancer, times: usize) -> HashMap<SocketAddr, usize> {
    let now = Instant::now();
    let mut counts = HashMap::new();
    for _ in 0..times {
        let chosen = balancer.choose(&Pick::default(), now).expect("an endpoint");
        *counts.entry(chosen.address()).or_insert(0) += 1;
    }
    counts
}

fn policy(max_ejection_percent: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: 2,
        consecutive_gateway_errors: 0,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent,
        ..OutlierDetection::default()
    }
}

fn fail_twice(balancer: &mut LoadBalancer, n: u8, now: Instant) {
    let state = balancer.endpoints[&address(n)].clone();
    balancer.report(&state, Outcome::ServerError, now);
    balancer.report(&state, Outcome::ServerError, now);
}

#[test]
fn round_robin_gives_each_the_same() {
    let counts = draws(&mut balancer(LoadBalancing::RoundRobin, vec![locality(0, 0, healthy(1..=3))]), 300);
    assert!(counts.values().all(|count| *count == 100), "{counts:?}");
}

#[test]
fn round_robin_follows_weights_exactly_and_spreads_the_heavy_one() {
    let endpoints = vec![
        endpoint(1, 5, Health::Healthy),
        endpoint(2, 1, Health::Healthy),
        endpoint(3, 1, Health::Healthy),
    ];
    let mut balancer = balancer(LoadBalancing::RoundRobin, vec![locality(0, 0, endpoints)]);
    let counts = draws(&mut balancer, 700);
    assert_eq!((counts[&address(1)], counts[&address(2)], counts[&address(3)]), (500, 100, 100));
    let now = Instant::now();
    let row: Vec<_> = (0..7)
        .map(|_| balancer.choose(&Pick::default(), now).map(|state| state.address() == address(1)))
        .collect();
    assert!(!row.windows(4).any(|four| four.iter().all(|heavy| *heavy == Some(true))), "{row:?}");
}

#[test]
fn random_follows_weights() {
    let endpoints = vec![endpoint(1, 3, Health::Healthy), endpoint(2, 1, Health::Healthy)];
    let counts = draws(&mut balancer(LoadBalancing::Random, vec![locality(0, 0, endpoints)]), 8_000);
    assert!((5_600..6_400).contains(&counts[&address(1)]), "{counts:?}");
}

#[test]
fn least_request_never_takes_the_busier_of_two() {
    let mut balancer = balancer(LoadBalancing::LEAST_REQUEST, vec![locality(0, 0, healthy(1..=2))]);
    let busy = balancer.endpoints[&address(1)].clone();
    let _held = busy.enter();
    assert_eq!(draws(&mut balancer, 100).get(&address(1)), None);
}

#[test]
fn least_request_prefers_the_idle_one_of_many() {
    let mut balancer = balancer(LoadBalancing::LEAST_REQUEST, vec![locality(0, 0, healthy(1..=4))]);
    let _held: Vec<_> = (1..=3).map(|n| balancer.endpoints[&address(n)].enter()).collect();
    let counts = draws(&mut balancer, 4_000);
    // It wins every draw it is in: one in two.
    assert!((1_800..2_200).contains(&counts[&address(4)]), "{counts:?}");
}

#[test]
fn least_request_with_weights_lets_load_count_against_weight() {
    let endpoints = vec![endpoint(1, 2, Health::Healthy), endpoint(2, 1, Health::Healthy)];
    let mut balancer = balancer(LoadBalancing::LEAST_REQUEST, vec![locality(0, 0, endpoints)]);
    let counts = draws(&mut balancer, 300);
    assert_eq!(counts[&address(1)], 200);
    let heavy = balancer.endpoints[&address(1)].clone();
    let _held: Vec<_> = (0..3).map(|_| heavy.enter()).collect();
    let counts = draws(&mut balancer, 300);
    assert_eq!(counts[&address(1)], 100, "2 divided by 4 against 1");
}

#[test]
fn localities_share_by_their_weights() {
    let weighted = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    let mut balancer = LoadBalancer::new(LoadBalancing::RoundRobin, weighted, None);
    balancer.update(&set(vec![locality(0, 3, healthy(1..=3)), locality(0, 1, healthy(4..=4))]));
    let counts = draws(&mut balancer, 400);
    assert_eq!(counts[&address(4)], 100, "{counts:?}");
}

#[test]
fn a_lower_priority_is_used_only_for_what_the_higher_cannot_take() {
    let both = |unhealthy: u8| {
        let first = (1..=10)
            .map(|n| endpoint(n, 1, if n <= unhealthy { Health::Unhealthy } else { Health::Healthy }));
        vec![locality(0, 0, first.collect()), locality(1, 0, healthy(11..=20))]
    };
    let to_second = |unhealthy| {
        let counts = draws(&mut balancer(LoadBalancing::Random, both(unhealthy)), 4_000);
        (11..=20).map(|n| counts.get(&address(n)).copied().unwrap_or(0)).sum::<usize>()
    };
    assert_eq!(to_second(0), 0);
    assert_eq!(to_second(2), 0, "80 % times 1.4 is still enough");
    let half = to_second(5);
    assert!((1_000..1_400).contains(&half), "50 % times 1.4 leaves 30 %: {half}");
    assert_eq!(to_second(10), 4_000);
}

#[test]
fn draining_and_unhealthy_endpoints_take_nothing_even_when_there_are_no_others() {
    let endpoints = vec![endpoint(1, 1, Health::Draining), endpoint(2, 1, Health::Unhealthy)];
    let mut balancer = balancer(LoadBalancing::RoundRobin, vec![locality(0, 0, endpoints)]);
    assert!(balancer.choose(&Pick::default(), Instant::now()).is_none());
}

#[test]
fn a_tried_endpoint_is_avoided_while_there_is_another() {
    let mut balancer = balancer(LoadBalancing::Random, vec![locality(0, 0, healthy(1..=3))]);
    let now = Instant::now();
    for _ in 0..100 {
        let chosen = balancer.choose(&Pick::avoiding(&[address(1), address(2)]), now).expect("an endpoint");
        assert_eq!(chosen.address(), address(3));
    }
    assert!(balancer.choose(&Pick::avoiding(&[address(1), address(2), address(3)]), now).is_some());
}

#[test]
fn an_endpoint_that_refused_is_the_last_choice_until_it_works_or_time_passes() {
    let mut balancer = balancer(LoadBalancing::RoundRobin, vec![locality(0, 0, healthy(1..=2))]);
    let now = Instant::now();
    let (one, two) = (balancer.endpoints[&address(1)].clone(), balancer.endpoints[&address(2)].clone());
    balancer.report(&one, Outcome::ConnectFailed, now);
    assert_eq!(draws(&mut balancer, 50).get(&address(1)), None);
    balancer.forgive(&one);
    assert_eq!(draws(&mut balancer, 50)[&address(1)], 25);
    balancer.report(&one, Outcome::ConnectFailed, now);
    let later =
        balancer.choose(&Pick::avoiding(&[address(2)]), now + Duration::from_secs(11)).expect("an endpoint");
    assert_eq!(later.address(), address(1));
    balancer.report(&one, Outcome::ConnectFailed, now);
    balancer.report(&two, Outcome::ConnectFailed, now);
    assert!(balancer.choose(&Pick::default(), now).is_some(), "refusing ones are better than none");
}

#[test]
fn endpoints_that_stay_keep_their_counters_and_those_that_go_are_given_back() {
    let mut balancer = balancer(LoadBalancing::RoundRobin, vec![locality(0, 0, healthy(1..=2))]);
    let one = balancer.endpoints[&address(1)].clone();
    let _held = one.enter();
    let gone = balancer.update(&set(vec![locality(0, 0, healthy(1..=1))]));
    assert_eq!(gone.iter().map(|state| state.address()).collect::<Vec<_>>(), [address(2)]);
    let chosen = balancer.choose(&Pick::default(), Instant::now()).expect("an endpoint");
    assert!(Rc::ptr_eq(&chosen, &one));
    assert_eq!(chosen.active(), 1);
}

#[test]
fn failures_in_a_row_eject_and_time_brings_back_longer_each_time() {
    let mut balancer = LoadBalancer::new(LoadBalancing::RoundRobin, Balancing::default(), Some(policy(50)));
    balancer.update(&set(vec![locality(0, 0, healthy(1..=2))]));
    let start = Instant::now();
    fail_twice(&mut balancer, 1, start);
    let at = |balancer: &mut LoadBalancer, seconds| {
        let now = start + Duration::from_secs(seconds);
        (0..10).any(|_| {
            balancer.choose(&Pick::default(), now).is_some_and(|state| state.address() == address(1))
        })
    };
    assert!(!at(&mut balancer, 0));
    assert!(!at(&mut balancer, 29));
    assert!(at(&mut balancer, 31));
    fail_twice(&mut balancer, 1, start + Duration::from_secs(31));
    assert!(!at(&mut balancer, 31 + 59), "the second time is twice as long");
    assert!(at(&mut balancer, 31 + 61));
}

#[test]
fn a_success_between_failures_keeps_an_endpoint_in() {
    let mut balancer = LoadBalancer::new(LoadBalancing::RoundRobin, Balancing::default(), Some(policy(50)));
    balancer.update(&set(vec![locality(0, 0, healthy(1..=2))]));
    let one = balancer.endpoints[&address(1)].clone();
    let now = Instant::now();
    for outcome in [Outcome::ServerError, Outcome::Success, Outcome::ServerError] {
        balancer.report(&one, outcome, now);
    }
    assert!(!one.is_ejected(now));
}

#[test]
fn no_more_than_the_allowed_percentage_is_out_but_one_may_always_be() {
    let mut balancer = LoadBalancer::new(LoadBalancing::RoundRobin, Balancing::default(), Some(policy(10)));
    balancer.update(&set(vec![locality(0, 0, healthy(1..=5))]));
    let now = Instant::now();
    (1..=5).for_each(|n| fail_twice(&mut balancer, n, now));
    assert_eq!(balancer.endpoints().filter(|state| state.is_ejected(now)).count(), 1);
}

#[test]
fn the_last_endpoint_goes_only_when_the_policy_says_all_may() {
    let now = Instant::now();
    for (percent, out) in [(99, false), (100, true)] {
        let mut balancer =
            LoadBalancer::new(LoadBalancing::RoundRobin, Balancing::default(), Some(policy(percent)));
        balancer.update(&set(vec![locality(0, 0, healthy(1..=1))]));
        fail_twice(&mut balancer, 1, now);
        assert_eq!(balancer.choose(&Pick::default(), now).is_none(), out, "{percent} percent");
    }
}

#[test]
fn ejections_are_ignored_when_too_few_would_be_left() {
    let panics = Balancing { panic_threshold: 60.0, ..Balancing::default() };
    let mut balancer = LoadBalancer::new(LoadBalancing::Random, panics, Some(policy(100)));
    balancer.update(&set(vec![locality(0, 0, healthy(1..=2))]));
    fail_twice(&mut balancer, 1, Instant::now());
    assert!(draws(&mut balancer, 200).contains_key(&address(1)));
}
