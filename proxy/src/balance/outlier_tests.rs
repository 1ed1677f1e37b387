use super::*;

fn policy(consecutive_5xx: u32, consecutive_gateway_errors: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx,
        consecutive_gateway_errors,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    }
}

#[test]
fn gateway_errors_count_as_server_errors_but_not_the_other_way() {
    let state = OutlierState::default();
    let gateway_only = policy(0, 2);
    assert!(state.count(Outcome::GatewayError, &gateway_only).is_none());
    assert!(state.count(Outcome::ServerError, &gateway_only).is_none(), "a 500 ends the row");
    assert!(state.count(Outcome::GatewayError, &gateway_only).is_none());
    assert!(state.count(Outcome::ConnectFailed, &gateway_only).is_some());
    let state = OutlierState::default();
    let any = policy(2, 0);
    assert!(state.count(Outcome::GatewayError, &any).is_none());
    assert!(state.count(Outcome::ServerError, &any).is_some());
}

#[test]
fn good_behaviour_shortens_the_next_ejection() {
    let state = OutlierState::default();
    let policy = policy(1, 0);
    let start = Instant::now();
    state.eject(&policy, start);
    let after_second = start + Duration::from_secs(31);
    state.eject(&policy, after_second);
    assert!(state.is_ejected(after_second + Duration::from_secs(59)));
    // Two intervals in: both are forgotten.
    let third = after_second + Duration::from_secs(60 + 25);
    state.eject(&policy, third);
    assert!(!state.is_ejected(third + Duration::from_secs(31)));
}

#[test]
fn an_ejection_has_an_upper_bound() {
    let state = OutlierState::default();
    let now = Instant::now();
    (0..100).for_each(|_| state.eject(&policy(1, 0), now));
    assert!(!state.is_ejected(now + OutlierDetection::MAX_EJECTION_TIME));
}

#[test]
fn local_origin_errors_have_a_row_of_their_own_when_they_are_split_off() {
    let split = OutlierDetection {
        split_local_origin_errors: true,
        consecutive_local_origin_failures: 2,
        ..policy(2, 0)
    };
    let state = OutlierState::default();
    assert!(state.count(Outcome::LocalError, &split).is_none());
    assert!(state.count(Outcome::ServerError, &split).is_none(), "an answer ends the row");
    assert!(state.count(Outcome::LocalError, &split).is_none());
    assert!(state.count(Outcome::ConnectFailed, &split).is_some());
    assert!(state.count(Outcome::ServerError, &split).is_some(), "the other row went on");
}

#[test]
fn what_is_not_enforced_does_not_eject() {
    let state = OutlierState::default();
    let gateway = OutlierDetection { enforcing_consecutive_gateway_errors: 0, ..policy(0, 1) };
    assert!((0..50).all(|_| state.count(Outcome::GatewayError, &gateway).is_none()));
    assert!(is_enforced(100));
    assert!((0..50).all(|_| !is_enforced(0)));
    let half = (0..2_000).filter(|_| is_enforced(50)).count();
    assert!((800..1_200).contains(&half), "{half}");
}

fn endpoints(successes: &[(u32, u32)], policy: &OutlierDetection) -> Vec<Rc<EndpointState>> {
    let endpoint = |(number, (good, bad)): (usize, &(u32, u32))| {
        let address = std::net::SocketAddr::from(([10, 0, 0, number as u8], 80));
        let endpoint = weft_model::endpoint::Endpoint::new(address);
        let state = EndpointState::new(endpoint.into(), Rc::default());
        (0..*good).for_each(|_| {
            state.outlier.count(Outcome::Success, policy);
        });
        (0..*bad).for_each(|_| {
            state.outlier.count(Outcome::ServerError, policy);
        });
        state
    };
    successes.iter().enumerate().map(endpoint).collect()
}

fn found(successes: &[(u32, u32)], policy: &OutlierDetection) -> Vec<u8> {
    let states = endpoints(successes, policy);
    let last = |state: &Rc<EndpointState>| match state.address().ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    outliers(states.iter(), policy, Instant::now()).iter().map(|(state, _)| last(state)).collect()
}

#[test]
fn an_endpoint_far_below_the_mean_success_rate_is_an_outlier() {
    let rate = OutlierDetection { success_rate: Some(SuccessRate::default()), ..policy(0, 0) };
    let good = [(100, 0); 5];
    assert_eq!(found(&[&good[..], &[(50, 50)]].concat(), &rate), [5]);
    assert_eq!(found(&good, &rate), [0_u8; 0], "all alike");
    assert_eq!(found(&[(100, 0), (100, 0), (100, 0), (0, 100)], &rate), [0_u8; 0], "too few to compare");
    assert_eq!(found(&[&good[..], &[(5, 5)]].concat(), &rate), [0_u8; 0], "too few requests");
}

#[test]
fn an_endpoint_with_too_many_failures_is_an_outlier_whatever_the_others_do() {
    let rule = FailurePercentage {
        enforcing: 100,
        enforcing_local_origin: 0,
        threshold: 60,
        minimum_hosts: 2,
        request_volume: 10,
    };
    let failures = OutlierDetection { failure_percentage: Some(rule), ..policy(0, 0) };
    assert_eq!(found(&[(4, 6), (5, 5), (0, 10), (0, 9)], &failures), [0, 2]);
    assert_eq!(found(&[(0, 10)], &failures), [0_u8; 0], "too few endpoints");
}

#[test]
fn rates_are_those_of_one_interval() {
    let rate = OutlierDetection { success_rate: Some(SuccessRate::default()), ..policy(0, 0) };
    let mut successes = vec![(100, 0); 5];
    successes.push((0, 100));
    let states = endpoints(&successes, &rate);
    assert_eq!(outliers(states.iter(), &rate, Instant::now()).len(), 1);
    assert!(outliers(states.iter(), &rate, Instant::now()).is_empty());
}

#[test]
fn ejections_last_as_long_as_the_policy_says_and_a_little_more() {
    let now = Instant::now();
    let short = OutlierDetection { max_ejection_time: Duration::from_secs(40), ..policy(1, 0) };
    let state = OutlierState::default();
    (0..5).for_each(|_| state.eject(&short, now));
    assert!(
        state.is_ejected(now + Duration::from_secs(39)) && !state.is_ejected(now + Duration::from_secs(40))
    );
    let jitter = OutlierDetection { max_ejection_time_jitter: Duration::from_secs(10), ..policy(1, 0) };
    for _ in 0..50 {
        let state = OutlierState::default();
        state.eject(&jitter, now);
        assert!(state.is_ejected(now + Duration::from_secs(29)));
        assert!(!state.is_ejected(now + Duration::from_secs(40)));
    }
}

#[test]
fn without_always_eject_one_the_percentage_alone_decides() {
    let strict = OutlierDetection { always_eject_one: false, max_ejection_percent: 10, ..policy(1, 0) };
    assert!(!may_eject(&strict, 0, 5));
    assert!(may_eject(&strict, 0, 10));
    assert!(!may_eject(&strict, 1, 10));
}
