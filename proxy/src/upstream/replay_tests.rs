use http_body_util::BodyExt;

use super::*;

/// A body of several frames.
fn frames(parts: &[&'static [u8]]) -> Body {
    let frames: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part)))).collect();
    Body::boxed(http_body_util::StreamBody::new(tokio_stream::iter(frames)))
}

async fn content(body: Body) -> Result<Bytes, BodyError> {
    body.collect().await.map(http_body_util::Collected::to_bytes)
}

#[tokio::test]
async fn a_second_reader_gets_all_of_it_wherever_the_first_stopped() {
    let replay = Replay::new(frames(&[b"one ", b"two ", b"three"]));
    let mut first = replay.reader().expect("whole");
    first.frame().await.expect("a frame").expect("no error");
    let second = replay.reader().expect("whole");
    assert_eq!(content(second).await.expect("no error"), "one two three");
    assert!(first.frame().await.expect("an answer").is_err(), "the first is out of turn");
    assert_eq!(content(replay.reader().expect("whole")).await.expect("no error"), "one two three");
}

#[tokio::test]
async fn beyond_the_bound_the_beginning_is_lost_and_nothing_is_kept() {
    const HALF: &[u8] = &[b'x'; KEPT / 2 + 1];
    let replay = Replay::new(frames(&[HALF, HALF, b"end"]));
    let first = replay.reader().expect("whole");
    assert_eq!(content(first).await.expect("no error").len(), 2 * HALF.len() + 3);
    assert!(!replay.is_whole());
    assert!(replay.reader().is_none());
    assert!(replay.0.borrow().kept.is_empty());
}

#[tokio::test]
async fn a_reader_that_goes_on_after_the_answer_loses_nothing() {
    let replay = Replay::new(frames(&[b"one ", b"two ", b"three"]));
    let mut first = replay.reader().expect("whole");
    first.frame().await.expect("a frame").expect("no error");
    let second = replay.reader().expect("whole");
    replay.forget();
    assert_eq!(content(second).await.expect("no error"), "one two three");
    assert!(replay.reader().is_none());
}

/// An answer that comes while the request is still being sent must not make what was sent go out again.
#[tokio::test]
async fn a_reader_that_has_passed_all_that_is_kept_does_not_begin_again() {
    let replay = Replay::new(frames(&[b"one ", b"two ", b"three ", b"four"]));
    let mut reader = replay.reader().expect("whole");
    for part in ["one ", "two "] {
        let frame = reader.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), part);
    }
    replay.forget();
    assert_eq!(content(reader).await.expect("no error"), "three four");
}

#[tokio::test]
async fn the_length_is_known_at_every_point() {
    let body =
        Body::boxed(http_body_util::Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}));
    let replay = Replay::new(body);
    let mut first = replay.reader().expect("whole");
    assert_eq!(first.exact_length(), Some(5));
    first.frame().await.expect("a frame").expect("no error");
    assert_eq!(first.exact_length(), Some(0));
    assert!(http_body::Body::is_end_stream(&first));
    assert_eq!(replay.reader().expect("whole").exact_length(), Some(5));
}
