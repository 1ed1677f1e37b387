use super::*;
use crate::source::checks::host;

#[test]
fn a_pattern_must_match_the_whole_value() {
    let pattern = Pattern::new("a|b").unwrap();
    assert!(pattern.matches("a") && pattern.matches("b") && !pattern.matches("ab"));
}

#[test]
fn a_short_name_is_a_service_of_the_namespace() {
    assert_eq!(&*host("reviews").unwrap().resolve("shop", "cluster.local"), "reviews.shop.svc.cluster.local");
    for text in ["a.b", "*", "*.x", "10.0.0.1"] {
        assert_eq!(&*host(text).unwrap().resolve("shop", "cluster.local"), text);
    }
}

#[test]
fn a_wildcard_covers_names_below_it() {
    let wildcard = host("*.example.com").unwrap();
    assert!(wildcard.covers("a.example.com") && wildcard.covers("a.b.example.com"));
    assert!(!wildcard.covers("example.com") && !wildcard.covers("aexample.com"));
    assert!(host("*").unwrap().covers("anything"));
}

#[test]
fn a_percentage_is_exact_to_a_millionth() {
    assert_eq!(Percentage::new(0.0001).unwrap().millionths(), 1);
    assert_eq!(Percentage::new(100.0).unwrap().millionths(), 1_000_000);
    assert!(Percentage::new(100.1).is_none() && Percentage::new(f64::NAN).is_none());
}

#[test]
fn protocols_are_declared_by_name() {
    assert_eq!(Protocol::of_port_name("grpc-web-x"), Some(Protocol::GrpcWeb));
    assert_eq!(Protocol::of_port_name("grpc-api"), Some(Protocol::Grpc));
    assert_eq!(Protocol::of_port_name("http"), Some(Protocol::Http));
    assert_eq!(Protocol::of_port_name("metrics"), None);
    assert_eq!(Protocol::named("kubernetes.io/h2c"), Some(Protocol::Http2));
}
