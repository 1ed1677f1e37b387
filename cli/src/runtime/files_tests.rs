use super::*;

#[test]
fn names_are_searched_as_in_a_pod() {
    assert_eq!(
        resolv_conf("shop"),
        "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
}

#[test]
fn other_sources_of_host_names_are_left_out() {
    assert_eq!(
        nsswitch("passwd: files\nhosts: resolve [!UNAVAIL=return] files\nservices: db\n"),
        "passwd: files\nservices: db\nhosts: files dns\n"
    );
}

#[test]
fn a_workload_knows_its_own_name() {
    let text = hosts("reviews-v1", "default", &["10.250.0.7".to_owned(), "fd00::7".to_owned()], &[]);
    assert!(text.contains("10.250.0.7 reviews-v1\nfd00::7 reviews-v1\n"), "{text}");
}
