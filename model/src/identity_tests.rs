use super::*;

#[test]
fn an_identity_reads_back_what_it_writes() {
    let text = "spiffe://cluster.local/ns/bookshop/sa/reviews";
    let identity: WorkloadIdentity = text.parse().unwrap();
    assert_eq!(identity.to_string(), text);
    assert_eq!(&*identity.service_account, "reviews");
}

#[test]
fn what_is_no_identity_is_refused_with_the_reason() {
    let parse = |text: &str| text.parse::<WorkloadIdentity>().unwrap_err();
    assert!(matches!(parse("https://x/ns/a/sa/b"), IdentityError::Scheme(_)));
    assert!(matches!(parse("spiffe:///ns/a/sa/b"), IdentityError::TrustDomain(_)));
    assert!(matches!(parse("spiffe://UPPER/ns/a/sa/b"), IdentityError::TrustDomain(_)));
    for path in [
        "spiffe://td",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/ns//sa/b",
        "spiffe://td/ns/../sa/b",
    ] {
        assert!(matches!(parse(path), IdentityError::Path(_)), "{path}");
    }
}
