use super::*;

#[test]
fn old_clusters_are_refused_and_those_without_native_sidecars_warned_of() {
    assert!(judge("v1.25.3", "1", "25").unwrap().fatal);
    assert!(!judge("v1.28.3-gke.1", "1", "28+").unwrap().fatal);
    assert_eq!(judge("v1.34.4", "1", "34"), None);
    assert_eq!(judge("v2.0.0", "2", "0"), None, "what is not known is not judged");
}
