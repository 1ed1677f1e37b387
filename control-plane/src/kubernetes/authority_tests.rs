use super::*;

fn place() -> AuthoritySecret {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    AuthoritySecret { client: Client::try_from(config).unwrap(), namespace: "weft-system".into(), name: OWN }
}

#[tokio::test]
async fn what_is_written_is_what_is_read() {
    let place = place();
    let pem = RootPem::generate(&place.place(), &TrustDomain::default(), SystemTime::now()).unwrap();
    assert_eq!(place.read(&place.secret(&pem)).unwrap(), pem);
}

#[tokio::test]
async fn a_secret_that_lacks_something_is_named_with_what_it_lacks() {
    let place = place();
    let pem = RootPem::generate(&place.place(), &TrustDomain::default(), SystemTime::now()).unwrap();
    let mut secret = place.secret(&pem);
    secret.data.as_mut().unwrap().remove(KEY);
    let error = place.read(&secret).unwrap_err().to_string();
    assert!(error.contains("`weft-ca` in namespace `weft-system` has no ca-key.pem"), "{error}");
}
