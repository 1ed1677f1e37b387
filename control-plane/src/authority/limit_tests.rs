use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn a_burst_is_served_and_then_the_rate() {
    let now = Instant::now();
    let allowances = Allowances::new(RateLimit { burst: 3, per_second: 2.0 });
    for _ in 0..3 {
        allowances.take(address(1), 1.0, now).unwrap();
    }
    assert_eq!(allowances.take(address(1), 1.0, now), Err(Duration::from_millis(500)));
    let now = now + Duration::from_millis(500);
    allowances.take(address(1), 1.0, now).unwrap();
    assert!(allowances.take(address(1), 1.0, now).is_err());
}

#[test]
fn one_address_takes_nothing_from_another() {
    let now = Instant::now();
    let allowances = Allowances::new(RateLimit { burst: 1, per_second: 0.1 });
    allowances.take(address(1), 1.0, now).unwrap();
    assert!(allowances.take(address(1), 1.0, now).is_err());
    allowances.take(address(2), 1.0, now).unwrap();
}

#[test]
fn what_is_remembered_is_bounded() {
    let now = Instant::now();
    let allowances = Allowances::new(RateLimit { burst: 1, per_second: 1.0 });
    for number in 0..REMEMBERED as u32 + 500 {
        allowances.take(IpAddr::from(number.to_be_bytes()), 1.0, now).unwrap();
    }
    assert!(allowances.left.lock().unwrap().len() <= REMEMBERED);
}
