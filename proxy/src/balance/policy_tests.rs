//! What a cluster's configuration and a request's wishes change about choosing.

use std::collections::HashMap;

use weft_model::endpoint::{AssignmentPolicy, Health, Locality, LocalityEndpoints};
use weft_model::load_balancing::{LeastRequest, LocalityBalancing, Maglev, PeakEwma, RingHash, SlowStart};
use weft_model::policy::Fraction;
use weft_model::subset::{SelectorFallback, SubsetFallback, SubsetSelector, Subsets};

use super::*;

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn number(state: &EndpointState) -> u8 {
    (1..=250).find(|n| address(*n) == state.address()).expect("one of ours")
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(address(n))
}

fn locality(priority: u32, weight: u32, endpoints: Vec<Endpoint>) -> LocalityEndpoints {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    LocalityEndpoints { locality: Locality::default(), priority, weight, endpoints }
}

fn healthy(numbers: std::ops::RangeInclusive<u8>) -> Vec<Endpoint> {
    numbers.map(endpoint).collect()
}

fn unhealthy(numbers: std::ops::RangeInclusive<u8>) -> Vec<Endpoint> {
    numbers.map(|n| Endpoint { health: Health::Unhealthy, ..endpoint(n) }).collect()
}

fn set(localities: Vec<LocalityEndpoints>) -> Arc<EndpointSet> {
    Arc::new(EndpointSet { cluster: "c".into(), localities, policy: AssignmentPolicy::default() })
}

fn balancer(
    algorithm: LoadBalancing,
    balancing: Balancing,
    localities: Vec<LocalityEndpoints>,
) -> LoadBalancer {
    let mut balancer = LoadBalancer::new(algorithm, balancing, None);
    balancer.update(&set(localities));
    balancer
}

fn draws(balancer: &mut LoadBalancer, pick: &Pick<'_>, now: Instant) -> HashMap<u8, usize> {
    let mut counts = HashMap::new();
    for _ in 0..2_000 {
        if let Some(state) = balancer.choose(pick, now) {
            *counts.entry(number(&state)).or_insert(0) += 1;
        }
    }
    counts
}

fn hashed(hash: u64) -> Pick<'static> {
    Pick { hash: Some(hash), ..Pick::default() }
}

fn hashing() -> [LoadBalancing; 2] {
    [LoadBalancing::RingHash(RingHash::default()), LoadBalancing::Maglev(Maglev { table_size: 251 })]
}

#[test]
fn a_hash_always_leads_to_the_same_endpoint_and_a_retry_to_another() {
    for algorithm in hashing() {
        let mut balancer = balancer(algorithm, Balancing::default(), vec![locality(0, 0, healthy(1..=5))]);
        let now = Instant::now();
        for hash in (0..100).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let first = number(&balancer.choose(&hashed(hash), now).expect("one"));
            assert!((0..5).all(|_| balancer.choose(&hashed(hash), now).is_some_and(|s| number(&s) == first)));
            let tried = [address(first)];
            let retry = Pick { tried: &tried, attempts: 1, ..hashed(hash) };
            assert_ne!(number(&balancer.choose(&retry, now).expect("one")), first);
        }
        let any = draws(&mut balancer, &Pick::default(), now);
        assert_eq!(any.len(), 5, "without a hash any: {any:?}");
    }
}

#[test]
fn workers_and_orders_of_configuration_agree_about_a_hash() {
    for algorithm in hashing() {
        let mut forth = balancer(algorithm, Balancing::default(), vec![locality(0, 0, healthy(1..=5))]);
        let mut endpoints = healthy(1..=5);
        endpoints.reverse();
        let mut back = balancer(algorithm, Balancing::default(), vec![locality(0, 0, endpoints)]);
        let now = Instant::now();
        for hash in (0..200).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let one = forth.choose(&hashed(hash), now).map(|state| state.address());
            assert_eq!(one, back.choose(&hashed(hash), now).map(|state| state.address()));
        }
    }
}

#[test]
fn with_bounded_loads_nobody_has_more_than_its_part() {
    let bounded = Balancing { hash_balance_factor: Some(120), ..Balancing::default() };
    for algorithm in hashing() {
        let mut balancer = balancer(algorithm, bounded.clone(), vec![locality(0, 0, healthy(1..=4))]);
        let now = Instant::now();
        // All have the same hash: without the bound all would go to one.
        let held: Vec<_> = (0..100).map(|_| balancer.choose(&hashed(7), now).expect("one").enter()).collect();
        let most = balancer.endpoints().map(|state| state.active()).max();
        assert!(most <= Some(30), "100 at 4, times 1.2: {most:?}");
        drop(held);
        let first = balancer.choose(&hashed(7), now).map(|state| state.address());
        assert_eq!(first, balancer.choose(&hashed(7), now).map(|state| state.address()));
    }
}

#[test]
fn endpoints_may_be_known_by_their_host_names() {
    let named = |n: u8, name: &str| Endpoint { hostname: name.into(), ..endpoint(n) };
    let by_name = Balancing { hash_by_hostname: true, ..Balancing::default() };
    for algorithm in hashing() {
        let mut before =
            balancer(algorithm, by_name.clone(), vec![locality(0, 0, vec![named(1, "a"), named(2, "b")])]);
        let mut after =
            balancer(algorithm, by_name.clone(), vec![locality(0, 0, vec![named(11, "a"), named(12, "b")])]);
        let now = Instant::now();
        for hash in (0..50).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let one = number(&before.choose(&hashed(hash), now).expect("one"));
            assert_eq!(number(&after.choose(&hashed(hash), now).expect("one")), one + 10);
        }
    }
}

#[test]
fn least_request_of_more_choices_finds_the_idle_one_more_often() {
    let share = |least: LeastRequest| {
        let localities = vec![locality(0, 0, healthy(1..=8))];
        let mut balancer = balancer(LoadBalancing::LeastRequest(least), Balancing::default(), localities);
        let _busy: Vec<_> = (1..=7).map(|n| balancer.endpoints[&address(n)].enter()).collect();
        draws(&mut balancer, &Pick::default(), Instant::now()).get(&8).copied().unwrap_or(0)
    };
    let two = share(LeastRequest::DEFAULT);
    let six = share(LeastRequest { choice_count: 6, ..LeastRequest::DEFAULT });
    let all = share(LeastRequest { full_scan: true, ..LeastRequest::DEFAULT });
    assert!(two < 700 && six > 900, "{two} {six}");
    assert_eq!(all, 2_000);
}

#[test]
fn a_bias_of_zero_leaves_weights_alone() {
    let weighted = vec![Endpoint { weight: 3, ..endpoint(1) }, endpoint(2)];
    let least = LeastRequest { active_request_bias: 0.0, ..LeastRequest::DEFAULT };
    let mut balancer =
        balancer(LoadBalancing::LeastRequest(least), Balancing::default(), vec![locality(0, 0, weighted)]);
    let _held: Vec<_> = (0..9).map(|_| balancer.endpoints[&address(1)].enter()).collect();
    assert_eq!(draws(&mut balancer, &Pick::default(), Instant::now())[&1], 1_500);
}

#[test]
fn peak_ewma_prefers_the_faster() {
    let ewma = LoadBalancing::PeakEwma(PeakEwma::default());
    let mut balancer = balancer(ewma, Balancing::default(), vec![locality(0, 0, healthy(1..=2))]);
    let now = Instant::now();
    let (slow, fast) = (balancer.endpoints[&address(1)].clone(), balancer.endpoints[&address(2)].clone());
    balancer.observe(&slow, Duration::from_millis(200), now);
    balancer.observe(&fast, Duration::from_millis(20), now);
    assert_eq!(draws(&mut balancer, &Pick::default(), now).get(&1), None);
    let _held: Vec<_> = (0..20).map(|_| fast.enter()).collect();
    assert_eq!(draws(&mut balancer, &Pick::default(), now).get(&2), None, "it has too much to do");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_came_late_gets_its_share_little_by_little() {
    let slow = SlowStart { window: Duration::from_secs(100), aggression: 1.0, min_weight_percent: 10.0 };
    let balancing = Balancing { slow_start: Some(slow), ..Balancing::default() };
    let mut balancer = balancer(LoadBalancing::RoundRobin, balancing, vec![locality(0, 0, healthy(1..=1))]);
    tokio::time::advance(Duration::from_secs(200)).await;
    balancer.update(&set(vec![locality(0, 0, healthy(1..=2))]));
    let share = |balancer: &mut LoadBalancer| {
        draws(balancer, &Pick::default(), Instant::now()).get(&2).copied().unwrap_or(0)
    };
    let new = share(&mut balancer);
    assert!((150..220).contains(&new), "a tenth against a whole: {new} of 2000");
    tokio::time::advance(Duration::from_secs(50)).await;
    let half = share(&mut balancer);
    assert!((640..690).contains(&half), "a half against a whole: {half}");
    tokio::time::advance(Duration::from_secs(51)).await;
    assert_eq!(share(&mut balancer), 1_000);
}

#[test]
fn a_locality_gets_less_when_too_little_of_it_is_healthy() {
    let weighted = Balancing { locality: LocalityBalancing::Weighted, ..Balancing::default() };
    let mut first = healthy(1..=2);
    first.extend(unhealthy(3..=4));
    let localities =
        vec![locality(0, 1, first), locality(0, 1, healthy(5..=8)), locality(0, 0, healthy(9..=9))];
    let mut balancer = balancer(LoadBalancing::RoundRobin, weighted, localities);
    let counts = draws(&mut balancer, &Pick::default(), Instant::now());
    let first = counts[&1] + counts[&2];
    // Half of it times 1.4 is 0.7, against 1.
    assert!((815..835).contains(&first), "{first}");
    assert_eq!(counts.get(&9), None, "no weight among others that have one");
}

#[test]
fn in_panic_all_are_used_and_above_it_only_the_healthy() {
    let localities = |bad: u8| {
        let mut endpoints = healthy(1..=10 - bad);
        endpoints.extend(unhealthy(11 - bad..=10));
        vec![locality(0, 0, endpoints)]
    };
    let used = |bad, balancing: Balancing| {
        let mut balancer = balancer(LoadBalancing::Random, balancing, localities(bad));
        draws(&mut balancer, &Pick::default(), Instant::now()).len()
    };
    let panics = || Balancing { panic_threshold: 50.0, ..Balancing::default() };
    assert_eq!(used(5, panics()), 5, "half is not less than half");
    assert_eq!(used(6, panics()), 10);
    assert_eq!(used(10, panics()), 10);
    assert_eq!(used(6, Balancing::default()), 4);
    assert_eq!(used(10, Balancing::default()), 0);
    let fails = LocalityBalancing::ZoneAware { fail_traffic_on_panic: true };
    assert_eq!(used(6, Balancing { locality: fails, ..panics() }), 0);
}

#[test]
fn while_another_priority_has_enough_nobody_panics() {
    let mut first = healthy(1..=1);
    first.extend(unhealthy(2..=10));
    let localities = vec![locality(0, 0, first), locality(1, 0, healthy(11..=20))];
    let panics = Balancing { panic_threshold: 50.0, ..Balancing::default() };
    let mut balancer = balancer(LoadBalancing::Random, panics, localities);
    let counts = draws(&mut balancer, &Pick::default(), Instant::now());
    assert!(!counts.contains_key(&2), "{counts:?}");
    assert!((200..360).contains(&counts[&1]), "10 % times 1.4: {counts:?}");
}

#[test]
fn the_overprovisioning_factor_says_when_the_next_priority_helps() {
    let mut first = healthy(1..=8);
    first.extend(unhealthy(9..=10));
    let localities = vec![locality(0, 0, first), locality(1, 0, healthy(11..=20))];
    let policy = AssignmentPolicy { overprovisioning_factor: 100, ..AssignmentPolicy::default() };
    let set = Arc::new(EndpointSet { cluster: "c".into(), localities, policy });
    let mut balancer = LoadBalancer::new(LoadBalancing::Random, Balancing::default(), None);
    balancer.update(&set);
    let counts = draws(&mut balancer, &Pick::default(), Instant::now());
    let second: usize = (11..=20).filter_map(|n| counts.get(&n)).sum();
    assert!((320..480).contains(&second), "a fifth: {second}");
}

#[test]
fn a_share_of_requests_is_dropped_by_category() {
    let drop_overloads = vec![("lb".into(), Fraction::from_percent(50.0))];
    let policy = AssignmentPolicy { drop_overloads, ..AssignmentPolicy::default() };
    let localities = vec![locality(0, 0, healthy(1..=1))];
    let mut balancer = LoadBalancer::new(LoadBalancing::Random, Balancing::default(), None);
    balancer.update(&Arc::new(EndpointSet { cluster: "c".into(), localities, policy }));
    let dropped = (0..2_000).filter(|_| balancer.drops().as_deref() == Some("lb")).count();
    assert!((850..1_150).contains(&dropped), "{dropped}");
}

fn labelled(n: u8, labels: &[(&str, &str)]) -> Endpoint {
    Endpoint { metadata: LbMetadata::of_texts(labels), ..endpoint(n) }
}

fn with_subsets(fallback: SubsetFallback, of_selector: Option<SelectorFallback>) -> LoadBalancer {
    let selector = |keys: &[&str], fallback| SubsetSelector {
        keys: keys.iter().map(|key| Arc::from(*key)).collect(),
        fallback,
    };
    let subsets = Subsets {
        fallback,
        default_subset: LbMetadata::of_texts(&[("version", "v1")]),
        selectors: vec![selector(&["stage", "version"], of_selector), selector(&["version"], None)],
    };
    let endpoints = vec![
        labelled(1, &[("version", "v1"), ("stage", "prod")]),
        labelled(2, &[("version", "v1"), ("stage", "dev")]),
        labelled(3, &[("version", "v2"), ("stage", "prod")]),
        endpoint(4),
    ];
    let balancing = Balancing { subsets: Some(subsets), ..Balancing::default() };
    balancer(LoadBalancing::RoundRobin, balancing, vec![locality(0, 0, endpoints)])
}

fn chosen(balancer: &mut LoadBalancer, wanted: &[(&str, &str)]) -> Vec<u8> {
    let wanted = LbMetadata::of_texts(wanted);
    let pick = Pick { metadata_match: Some(&wanted), ..Pick::default() };
    let mut numbers: Vec<u8> = draws(balancer, &pick, Instant::now()).into_keys().collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_request_goes_to_the_subset_that_it_names() {
    let mut balancer = with_subsets(SubsetFallback::None, None);
    assert_eq!(chosen(&mut balancer, &[("version", "v1")]), [1, 2]);
    assert_eq!(chosen(&mut balancer, &[("version", "v2")]), [3]);
    assert_eq!(chosen(&mut balancer, &[("version", "v1"), ("stage", "dev")]), [2]);
    for nothing in [&[("version", "v3")][..], &[("stage", "prod")], &[]] {
        assert_eq!(chosen(&mut balancer, nothing), [0_u8; 0], "{nothing:?}");
    }
}

#[test]
fn where_there_is_no_such_subset_the_fallback_says_who_is_asked() {
    let mut any = with_subsets(SubsetFallback::Any, None);
    assert_eq!(chosen(&mut any, &[("version", "v3")]), [1, 2, 3, 4]);
    assert_eq!(chosen(&mut any, &[]), [1, 2, 3, 4]);
    let mut default = with_subsets(SubsetFallback::DefaultSubset, None);
    assert_eq!(chosen(&mut default, &[("version", "v3")]), [1, 2]);
    let own = Some(SelectorFallback::As(SubsetFallback::Any));
    let mut own = with_subsets(SubsetFallback::None, own);
    assert_eq!(chosen(&mut own, &[("version", "v2"), ("stage", "dev")]), [1, 2, 3, 4]);
    assert_eq!(chosen(&mut own, &[("version", "v3")]), [0_u8; 0], "only that selector's");
    let fewer = Some(SelectorFallback::Keys([Arc::from("version")].into()));
    let mut fewer = with_subsets(SubsetFallback::None, fewer);
    assert_eq!(chosen(&mut fewer, &[("version", "v2"), ("stage", "dev")]), [3]);
}

#[test]
fn subsets_follow_the_endpoints() {
    let mut balancer = with_subsets(SubsetFallback::None, None);
    assert_eq!(chosen(&mut balancer, &[("version", "v3")]), [0_u8; 0]);
    balancer.update(&set(vec![locality(0, 0, vec![labelled(1, &[("version", "v3")])])]));
    assert_eq!(chosen(&mut balancer, &[("version", "v3")]), [1]);
    assert_eq!(chosen(&mut balancer, &[("version", "v1")]), [0_u8; 0]);
}

#[test]
fn a_retry_avoids_canaries_and_endpoints_of_the_policy() {
    let canary = LbMetadata::new([(Arc::from("canary"), MetadataValue::Flag(true))]);
    let endpoints =
        vec![Endpoint { metadata: canary, ..endpoint(1) }, labelled(2, &[("stage", "dev")]), endpoint(3)];
    let mut balancer = balancer(LoadBalancing::Random, Balancing::default(), vec![locality(0, 0, endpoints)]);
    let policy = RetryPolicy {
        omit_canary_hosts: true,
        omit_host_metadata: LbMetadata::of_texts(&[("stage", "dev")]),
        ..RetryPolicy::default()
    };
    let retry = Pick { retry: Some(&policy), attempts: 1, ..Pick::default() };
    let counts = draws(&mut balancer, &retry, Instant::now());
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [3]);
    let tried = [address(3)];
    let last = Pick { tried: &tried, ..retry };
    assert!(
        !draws(&mut balancer, &last, Instant::now()).contains_key(&3),
        "better those than the same again"
    );
}

#[test]
fn a_retry_leaves_the_priorities_that_were_tried() {
    let localities = vec![locality(0, 0, healthy(1..=3)), locality(1, 0, healthy(11..=13))];
    let mut balancer = balancer(LoadBalancing::Random, Balancing::default(), localities);
    let policy = RetryPolicy { previous_priorities: Some(2), ..RetryPolicy::default() };
    let to_second = |balancer: &mut LoadBalancer, tried: &[SocketAddr]| {
        let retry = Pick { tried, retry: Some(&policy), attempts: tried.len() as u32, ..Pick::default() };
        draws(balancer, &retry, Instant::now()).into_iter().filter(|(n, _)| *n > 10).map(|(_, c)| c).sum()
    };
    let count: usize = to_second(&mut balancer, &[address(1)]);
    assert_eq!(count, 0, "after one attempt the priorities are as ever");
    let count: usize = to_second(&mut balancer, &[address(1), address(2)]);
    assert_eq!(count, 2_000);
    let both = [address(1), address(11)];
    let count: usize = to_second(&mut balancer, &both);
    assert_eq!(count, 0, "all were tried: it begins anew");
}

#[test]
fn an_endpoint_that_its_check_finds_unhealthy_takes_nothing_until_it_is_well() {
    let localities = vec![locality(0, 0, healthy(1..=2))];
    let mut balancer = balancer(LoadBalancing::Random, Balancing::default(), localities);
    let now = Instant::now();
    let found = |well: bool| move |endpoint: &Endpoint| (endpoint.address == address(1)).then_some(well);
    balancer.checked(found(false), now);
    assert!(!draws(&mut balancer, &Pick::default(), now).contains_key(&1));
    balancer.checked(found(true), now);
    assert!(draws(&mut balancer, &Pick::default(), now).contains_key(&1));
}
