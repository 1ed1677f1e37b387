use super::*;
use crate::tls::testing::{REVIEWS, TestAuthority};

#[test]
fn a_bundle_reads_back_what_it_writes_and_counts_a_root_once() {
    let (first, second) = (TestAuthority::new("First"), TestAuthority::new("Second"));
    let bundle = first.bundle().with([second.root.clone(), first.root.clone()]).unwrap();
    assert_eq!(bundle.roots().len(), 2);
    assert_eq!(TrustBundle::from_pem(bundle.to_pem().as_bytes()).unwrap(), bundle);
}

#[test]
fn what_is_no_bundle_is_refused_with_the_reason() {
    let authority = TestAuthority::new("Mesh");
    assert_eq!(TrustBundle::from_pem(b"nothing").unwrap_err(), TrustBundleError::Empty);
    let leaf = authority.valid_leaf(REVIEWS).certificate_pem;
    let text = authority.bundle().to_pem() + &leaf;
    let error = TrustBundle::from_pem(text.as_bytes()).unwrap_err();
    assert!(matches!(error, TrustBundleError::Root { index: 2, .. }), "{error}");
    let broken = authority.bundle().to_pem().replace("MI", "!!");
    assert!(matches!(TrustBundle::from_pem(broken.as_bytes()), Err(TrustBundleError::Pem(_))));
}
