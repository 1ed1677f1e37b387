use k8s_openapi::api::authentication::v1::UserInfo;
use tonic::Code;

use super::*;

fn status(name: &str, audiences: &[&str]) -> TokenReviewStatus {
    let extra = [(POD_NAME.to_owned(), vec!["web-1".to_owned()])];
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(audiences.iter().map(|it| (*it).to_owned()).collect()),
        user: Some(UserInfo {
            username: Some(name.to_owned()),
            extra: Some(extra.into_iter().collect()),
            ..UserInfo::default()
        }),
        ..TokenReviewStatus::default()
    }
}

#[test]
fn a_token_for_us_stands_for_its_service_account_and_pod() {
    let workload = read(&status("system:serviceaccount:shop:web", &[AUDIENCE])).unwrap();
    assert_eq!((&*workload.namespace, &*workload.service_account), ("shop", "web"));
    assert_eq!(workload.name.as_deref(), Some("web-1"));
}

#[test]
fn every_other_token_is_refused() {
    let code = |status: &TokenReviewStatus| read(status).unwrap_err().code();
    assert_eq!(code(&TokenReviewStatus::default()), Code::Unauthenticated);
    assert_eq!(code(&status("system:serviceaccount:shop:web", &["other"])), Code::Unauthenticated);
    assert_eq!(code(&status("system:serviceaccount:shop:web", &[])), Code::Unauthenticated);
    assert_eq!(code(&status("jane", &[AUDIENCE])), Code::PermissionDenied);
    assert_eq!(code(&status("system:serviceaccount:shop", &[AUDIENCE])), Code::PermissionDenied);
}

#[tokio::test]
async fn what_was_denied_is_denied_again_without_asking_and_an_absent_server_is_no_denial() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let reviews = TokenReviews::new(client);
    let away = reviews.review("token").await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable, "{away}");
    assert!(!away.message().contains("token\""), "{away}");
    reviews.deny(Sha256::digest(b"token").into(), "no");
    assert_eq!(reviews.review("token").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(reviews.review("").await.unwrap_err().code(), Code::Unauthenticated);
}
