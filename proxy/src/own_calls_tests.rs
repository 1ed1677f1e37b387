use super::*;

#[test]
fn a_call_is_known_in_both_forms_of_its_address_until_it_is_made() {
    let calls = OwnCalls::default();
    let (from, to) = ("10.0.0.7:40000".parse().unwrap(), "10.0.0.7:9080".parse().unwrap());
    let announced = calls.announce(from, to);
    assert_eq!(calls.destination("[::ffff:10.0.0.7]:40000".parse().unwrap()), Some(to));
    assert_eq!(calls.destination("10.0.0.7:40001".parse().unwrap()), None);
    drop(announced);
    assert_eq!(calls.destination(from), None);
}
