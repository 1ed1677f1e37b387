use super::*;

fn policy(consecutive_5xx: u32, consecutive_gateway_errors: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx,
        consecutive_gateway_errors,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 100,
        min_health_percent: 0,
    }
}

#[test]
fn gateway_errors_count_as_server_errors_but_not_the_other_way() {
    let state = OutlierState::default();
    let gateway_only = policy(0, 2);
    assert!(!state.count(Outcome::GatewayError, &gateway_only));
    assert!(!state.count(Outcome::ServerError, &gateway_only), "a 500 ends the row");
    assert!(!state.count(Outcome::GatewayError, &gateway_only));
    assert!(state.count(Outcome::ConnectFailed, &gateway_only));
    let state = OutlierState::default();
    let any = policy(2, 0);
    assert!(!state.count(Outcome::GatewayError, &any));
    assert!(state.count(Outcome::ServerError, &any));
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
    assert!(!state.is_ejected(now + MAX_EJECTION));
}
