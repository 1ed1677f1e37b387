use std::sync::Arc;

use super::*;

fn policy(words: &[&str]) -> RetryPolicy {
    let conditions = words.iter().fold(RetryConditions::default(), |all, word| {
        all.and(RetryConditions::from_word(word).expect("a word of Envoy's"))
    });
    RetryPolicy {
        retries: 2,
        conditions,
        status_codes: Arc::from([418]),
        per_try_timeout: None,
        per_try_idle_timeout: None,
        backoff_base: RetryPolicy::BACKOFF_BASE,
        backoff_max: RetryPolicy::BACKOFF_MAX,
        idempotent_only: true,
        avoid_tried_endpoints: true,
    }
}

fn answered(status: u16, grpc_status: Option<u32>) -> Ended {
    Ended::Answered { status: StatusCode::from_u16(status).expect("valid"), grpc_status }
}

fn failed(kind: FailureKind, started: bool) -> Ended {
    Ended::Failed { kind, started }
}

#[test]
fn each_condition_covers_what_envoy_says_it_covers() {
    let endings = [
        ("connect", failed(FailureKind::Connect, false)),
        ("refused", failed(FailureKind::RefusedStream, false)),
        ("reset", failed(FailureKind::Reset, true)),
        ("closed-unsent", failed(FailureKind::Closed, false)),
        ("per-try", failed(FailureKind::PerTryTimeout, true)),
        ("overflow", failed(FailureKind::Overflow, false)),
        ("timeout", failed(FailureKind::Timeout, true)),
        ("client", failed(FailureKind::RequestBody, true)),
        ("500", answered(500, None)),
        ("503", answered(503, None)),
        ("409", answered(409, None)),
        ("418", answered(418, None)),
        ("404", answered(404, None)),
        ("200", answered(200, None)),
        ("grpc-1", answered(200, Some(1))),
        ("grpc-4", answered(200, Some(4))),
        ("grpc-8", answered(200, Some(8))),
        ("grpc-13", answered(200, Some(13))),
        ("grpc-14", answered(200, Some(14))),
        ("grpc-5", answered(200, Some(5))),
    ];
    let network = "connect refused reset closed-unsent per-try";
    let table = [
        ("connect-failure", "connect".to_owned()),
        ("refused-stream", "refused".to_owned()),
        ("reset", network.to_owned()),
        ("reset-before-request", "connect closed-unsent".to_owned()),
        ("gateway-error", format!("{network} 503")),
        ("5xx", format!("{network} 500 503")),
        ("retriable-4xx", "409".to_owned()),
        ("retriable-status-codes", "418".to_owned()),
        ("cancelled", "grpc-1".to_owned()),
        ("deadline-exceeded", "grpc-4".to_owned()),
        ("resource-exhausted", "grpc-8".to_owned()),
        ("internal", "grpc-13".to_owned()),
        ("unavailable", "grpc-14".to_owned()),
    ];
    for (word, expected) in table {
        let policy = policy(&[word]);
        let covered: Vec<_> =
            endings.iter().filter(|(_, ended)| wanted(&policy, *ended)).map(|(name, _)| *name).collect();
        assert_eq!(covered.join(" "), expected, "{word}");
    }
}

#[test]
fn only_idempotent_methods_are_sent_twice_when_they_may_have_been_processed() {
    for (method, idempotent) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::OPTIONS, true),
        (Method::TRACE, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::CONNECT, false),
    ] {
        assert_eq!(safe(true, &method, Progress::MaybeProcessed), idempotent, "{method}");
        assert!(safe(true, &method, Progress::Unprocessed), "{method}");
        assert!(safe(false, &method, Progress::MaybeProcessed), "{method}");
    }
}

#[test]
fn the_wait_doubles_up_to_its_bound_and_has_full_jitter() {
    let policy = policy(&["5xx"]);
    let longest: Vec<_> = (1..=4).map(|retry| backoff(&policy, retry, 1.0).as_millis()).collect();
    assert_eq!(longest, [50, 100, 200, 250]);
    assert_eq!(backoff(&policy, 3, 0.0), Duration::ZERO);
}
