use weft_model::policy::Fraction;

use super::*;

#[test]
fn delay_and_abort_are_drawn_independently() {
    let fault = Fault {
        delay: Some((Duration::from_secs(1), Fraction::from_percent(10.0))),
        abort: Some((Abort::Http(503), Fraction::from_percent(50.0))),
        ..Fault::default()
    };
    let drawn = |numbers: [u32; 2]| {
        let mut numbers = numbers.into_iter();
        draw(&fault, || numbers.next().unwrap())
    };
    let (delay, abort) = (Some(Duration::from_secs(1)), Some(Abort::Http(503)));
    assert_eq!(drawn([99_999, 499_999]), Injected { delay, abort });
    assert_eq!(drawn([100_000, 499_999]), Injected { delay: None, abort });
    assert_eq!(drawn([99_999, 500_000]), Injected { delay, abort: None });
    assert_eq!(drawn([999_999, 999_999]), Injected::default());
}

#[test]
fn a_share_of_all_or_none_leaves_nothing_to_chance() {
    let every = Fault { abort: Some((Abort::Grpc(14), Fraction::ALL)), ..Fault::default() };
    let never = Fault { abort: Some((Abort::Grpc(14), Fraction::from_percent(0.0))), ..Fault::default() };
    for random in [0, 1, 999_999, 1_000_000, u32::MAX] {
        assert_eq!(draw(&every, || random).abort, Some(Abort::Grpc(14)));
        assert_eq!(draw(&never, || random), Injected::default());
    }
}
