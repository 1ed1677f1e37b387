use super::super::testing::{HOUR, REVIEWS, TestAuthority};
use super::*;

#[test]
fn a_leaf_is_read_by_the_rules_of_x509_svid() {
    let authority = TestAuthority::new("Mesh");
    let facts = CertificateFacts::of(&authority.valid_leaf(REVIEWS).certificate).unwrap();
    assert_eq!(facts.identity.to_string(), REVIEWS);
    assert!(facts.not_before < SystemTime::now() && facts.not_after > SystemTime::now());
    let refused = |der: &CertificateDer<'_>| CertificateFacts::of(der).unwrap_err().to_string();
    assert!(refused(&authority.root).contains("authority"));
    let (begin, end) = (SystemTime::now() - HOUR, SystemTime::now() + HOUR);
    assert!(refused(&authority.leaf(&[], begin, end).certificate).contains("no subject alternative name"));
    assert!(refused(&authority.leaf(&[REVIEWS, REVIEWS], begin, end).certificate).contains("more than one"));
    assert!(refused(&CertificateDer::from(vec![0x30, 0x00])).contains("parsed"));
}

#[test]
fn a_chain_is_checked_before_a_peer_would() {
    let (authority, other) = (TestAuthority::new("Mesh"), TestAuthority::new("Other"));
    let chain = [authority.valid_leaf(REVIEWS).certificate];
    let (ours, theirs) = (authority.bundle(), other.bundle());
    let now = SystemTime::now();
    verify_own_chain(&chain, ours.store(), now).unwrap();
    assert_eq!(verify_own_chain(&chain, theirs.store(), now), Err(TlsError::UnknownRoot));
    let later = verify_own_chain(&chain, ours.store(), now + 2 * HOUR);
    assert!(matches!(later, Err(TlsError::Expired { .. })));
}
