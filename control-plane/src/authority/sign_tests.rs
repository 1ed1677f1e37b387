use rcgen::KeyPair;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::authority::root::time;
use crate::authority::testing::{TurnedClock, authority_at, directory};

const REVIEWS: &str = "spiffe://cluster.local/ns/bookshop/sa/reviews";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_certificate_is_an_x509_svid_as_istio_makes_them() {
    let (directory, clock) = (directory(), TurnedClock::new());
    let authority = authority_at(&directory, clock.clock());
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue(&REVIEWS.parse().unwrap(), &key, None).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let (_, root) = X509Certificate::from_der(&issued.roots[0]).unwrap();

    assert_eq!(leaf.version().0, 2, "X.509 version 3");
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(names.value.general_names, [GeneralName::URI(REVIEWS)]);
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
    assert!(!usage.value.key_cert_sign() && !usage.value.crl_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any && !extended.code_signing);
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(leaf.raw_serial_as_string().replace(':', ""), issued.serial);

    let now = clock.clock().now();
    assert_eq!(seconds(time(leaf.validity().not_before)), seconds(now - CLOCK_SKEW));
    assert_eq!(seconds(time(leaf.validity().not_after)), seconds(now + DAY));
    assert_eq!(root.subject().to_string(), "O=cluster.local, CN=Weft root");
    let pem = issued.to_pem_chain();
    assert_eq!((pem.len(), pem.last().unwrap()), (2, &authority.trust_bundle_pem()));
}

#[test]
fn a_life_is_as_asked_up_to_the_cap_and_never_beyond_the_root() {
    let (directory, clock) = (directory(), TurnedClock::new());
    let authority = authority_at(&directory, clock.clock());
    let (key, identity) = (KeyPair::generate().unwrap(), REVIEWS.parse().unwrap());
    let end = |asked| authority.issue(&identity, &key, asked).unwrap().not_after;
    assert_eq!(end(Some(Duration::from_secs(60))), clock.clock().now() + Duration::from_secs(60));
    assert_eq!(end(Some(365 * DAY)), clock.clock().now() + DAY);
    assert_eq!(end(Some(Duration::from_secs(u64::MAX / 4))), clock.clock().now() + DAY);
    clock.advance(10 * 365 * DAY - Duration::from_secs(3600));
    assert_eq!(end(None), authority.root_expires_at());
    clock.advance(DAY);
    let error = authority.issue(&identity, &key, None).unwrap_err().to_string();
    assert!(error.contains("root of trust has expired"), "{error}");
}

#[test]
fn no_serial_number_comes_twice_or_is_negative() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let serial = serial().unwrap();
        assert!(serial[0] & 0x80 == 0 && serial[0] != 0);
        assert!(seen.insert(serial));
    }
}

#[test]
fn debug_shows_no_key() {
    let directory = directory();
    let authority = authority_at(&directory, Clock::system());
    let shown = format!("{authority:?}");
    assert!(
        shown.contains("Root") && !shown.contains("PRIVATE") && !shown.contains("signing_key"),
        "{shown}"
    );
}
