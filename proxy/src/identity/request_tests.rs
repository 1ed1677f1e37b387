use weft_model::clock::Clock;

use super::*;
use crate::identity::ControlPlane;
use crate::tls::testing::{REVIEWS, TestAuthority};

/// What is shown to the authority by one who has a certificate, and a token in a file, after so many failures.
fn shown(
    token: fn(std::path::PathBuf) -> TokenSource,
    content: Option<&str>,
    failures: u64,
) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    if let Some(content) = content {
        std::fs::write(&file, content).unwrap();
    }
    let identity = TestAuthority::new("root").identity(REVIEWS);
    identity.renewal(|state| state.failures = failures);
    let settings = IdentitySettings {
        identity: REVIEWS.parse().unwrap(),
        workload: None,
        control_plane: ControlPlane::at("127.0.0.1:1"),
        state_dir: folder.path().to_owned(),
        trust_bundle: folder.path().join("root.pem"),
        token: token(file),
        lifetime: None,
    };
    let token = credential(&settings, &identity, Clock::system().now()).unwrap();
    token.map(|token| token.reveal().to_owned())
}

#[test]
fn a_join_token_is_for_one_who_has_no_certificate_yet() {
    assert_eq!(shown(TokenSource::File, Some("once"), 0), None);
    assert_eq!(shown(TokenSource::File, Some("once"), 1), None);
}

#[test]
fn a_service_accounts_token_is_shown_each_time_and_the_certificate_alone_when_that_has_failed() {
    assert_eq!(shown(TokenSource::Projected, Some("fresh\n"), 0).as_deref(), Some("fresh"));
    assert_eq!(shown(TokenSource::Projected, Some("fresh"), 1), None);
    assert_eq!(shown(TokenSource::Projected, Some("fresh"), 2).as_deref(), Some("fresh"));
    assert_eq!(
        shown(TokenSource::Projected, None, 0),
        None,
        "a certificate is enough while the file is away"
    );
}
