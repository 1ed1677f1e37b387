use http_body::Body as _;
use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn a_body_in_memory_knows_its_length_and_can_be_sent_again() {
    let mut body = Body::from("hello");
    assert_eq!(body.exact_length(), Some(5));
    let sent = body.take_to_send();
    assert_eq!(sent.collect().await.unwrap().to_bytes(), "hello");
    assert!(body.is_replayable());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    assert!(Body::from("").is_end_stream());
}

#[tokio::test]
async fn a_stream_that_was_given_away_fails_instead_of_being_empty() {
    let mut body =
        Body::boxed(http_body_util::Empty::new().map_err(|never: std::convert::Infallible| match never {}));
    let _sent = body.take_to_send();
    assert!(!body.is_replayable() && !body.is_end_stream() && body.exact_length().is_none());
    assert_eq!(body.collect().await.unwrap_err().kind, BodyErrorKind::Consumed);
}

#[test]
fn errors_say_who_and_how() {
    let error = BodyError::new(ErrorSource::Upstream, BodyErrorKind::Closed);
    assert_eq!(error.to_string(), "the upstream closed before the end of the content");
}
