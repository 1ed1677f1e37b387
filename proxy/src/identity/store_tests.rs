use std::time::SystemTime;

use super::*;
use crate::tls::testing::{Leaf, REVIEWS, TestAuthority};

fn save(store: &IdentityStore, leaf: &Leaf, roots: &[CertificateDer<'static>]) {
    let certificates = [std::slice::from_ref(&leaf.certificate), roots].concat();
    store.save(&PrivatePkcs8KeyDer::from(leaf.key.serialize_der()), &certificates).unwrap();
}

#[test]
fn what_is_saved_is_loaded_with_the_roots_that_came_along() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, next) = (TestAuthority::new("Mesh"), TestAuthority::new("Next"));
    let store = IdentityStore::open(directory.path()).unwrap();
    assert!(store.load(&authority.bundle()).unwrap().is_none());
    let leaf = authority.valid_leaf(REVIEWS);
    save(&store, &leaf, &[next.root.clone(), authority.root.clone()]);
    let loaded = store.load(&authority.bundle()).unwrap().unwrap();
    assert_eq!(loaded.chain(), [leaf.certificate]);
    assert_eq!(loaded.trust_bundle().roots().len(), 2);
    loaded.verify(SystemTime::now()).unwrap();
}

#[test]
fn the_key_is_private_on_disk_and_in_debug() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("Mesh");
    let store = IdentityStore::open(directory.path()).unwrap();
    let leaf = authority.valid_leaf(REVIEWS);
    save(&store, &leaf, &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&store.file()), 0o600);
    assert_eq!(mode(store.file().parent().unwrap()), 0o700);
    let shown = format!("{:?}", authority.certificate(&leaf));
    assert!(shown.contains(REVIEWS) && !shown.to_lowercase().contains("key"), "{shown}");

    std::fs::set_permissions(store.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = store.load(&authority.bundle()).unwrap_err();
    assert!(matches!(error, IdentityError::Exposed { mode: 0o644, .. }), "{error}");
}

#[test]
fn a_write_that_was_cut_off_leaves_the_old_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("Mesh");
    let store = IdentityStore::open(directory.path()).unwrap();
    let leaf = authority.valid_leaf(REVIEWS);
    save(&store, &leaf, &[]);
    // What a crash leaves behind: half a file beside, readable by all.
    let beside = store.file().with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&beside, "-----BEGIN").unwrap();
    assert_eq!(store.load(&authority.bundle()).unwrap().unwrap().chain(), [leaf.certificate]);
    let next = authority.valid_leaf(REVIEWS);
    save(&store, &next, &[]);
    assert_eq!(store.load(&authority.bundle()).unwrap().unwrap().chain(), [next.certificate]);
    assert_eq!(std::fs::metadata(store.file()).unwrap().mode() & 0o777, 0o600);
    assert!(!beside.exists());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("Mesh");
    let store = IdentityStore::open(directory.path()).unwrap();
    let (leaf, other) = (authority.valid_leaf(REVIEWS), authority.valid_leaf(REVIEWS));
    store.save(&PrivatePkcs8KeyDer::from(other.key.serialize_der()), &[leaf.certificate]).unwrap();
    let error = store.load(&authority.bundle()).unwrap_err().to_string();
    assert!(error.contains("does not fit"), "{error}");
}
