use std::sync::Arc;

use super::*;

fn no_headers() -> &'static HeaderMap {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    &NONE
}

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
        ..RetryPolicy::default()
    }
}

fn answered(status: u16, grpc_status: Option<u32>) -> Ended<'static> {
    Ended::Answered {
        status: StatusCode::from_u16(status).expect("valid"),
        grpc_status,
        headers: no_headers(),
    }
}

fn failed(kind: FailureKind, started: bool) -> Ended<'static> {
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

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse().expect("a value"))
    };
    lines.iter().map(line).collect()
}

fn of_header(name: &'static str) -> weft_model::matcher::HeaderMatch {
    weft_model::matcher::HeaderMatch {
        name: weft_model::matcher::HeaderKey::Header(HeaderName::from_static(name)),
        value: weft_model::matcher::ValueMatch::Present,
        invert: false,
        absent_as_empty: false,
    }
}

#[test]
fn an_answer_of_a_rate_limit_is_final_unless_the_policy_says_otherwise() {
    let limited = headers(&[("x-envoy-ratelimited", "true")]);
    let ended =
        Ended::Answered { status: StatusCode::SERVICE_UNAVAILABLE, grpc_status: None, headers: &limited };
    assert!(!wanted(&policy(&["5xx"]), ended));
    assert!(wanted(&policy(&["envoy-ratelimited"]), ended));
}

#[test]
fn an_answer_with_a_header_of_the_policy_is_tried_again() {
    let mut again = policy(&["retriable-headers"]);
    again.retriable_headers = vec![of_header("x-try-again")];
    let with = headers(&[("x-try-again", "1")]);
    let ended = |headers| Ended::Answered { status: StatusCode::OK, grpc_status: None, headers };
    assert!(wanted(&again, ended(&with)));
    assert!(!wanted(&again, ended(no_headers())));
    again.conditions = RetryConditions::SERVER_ERROR;
    assert!(!wanted(&again, ended(&with)), "the condition is not named");
}

#[test]
fn only_requests_of_the_policys_headers_are_tried_again() {
    let mut some = policy(&["5xx"]);
    let request = |name| Request::builder().header(name, "1").body(()).expect("valid");
    assert!(is_retriable(&some, &request("x-a")));
    some.retriable_request_headers = vec![of_header("x-a"), of_header("x-b")];
    assert!(is_retriable(&some, &request("x-b")));
    assert!(!is_retriable(&some, &request("x-c")));
}

#[test]
fn an_answer_may_say_how_long_to_wait_within_bounds() {
    let mut policy = policy(&["5xx"]);
    let seconds = |value: &str| headers(&[("retry-after", value)]);
    assert_eq!(asked_to_wait(&policy, &seconds("7")), None);
    policy.rate_limited = Some(weft_model::policy::RateLimitedBackOff {
        reset_headers: vec![
            (HeaderName::from_static("x-ratelimit-reset"), ResetFormat::UnixTimestamp),
            (HeaderName::from_static("retry-after"), ResetFormat::Seconds),
        ],
        max_interval: Duration::from_secs(60),
    });
    assert_eq!(asked_to_wait(&policy, &seconds("7")), Some(Duration::from_secs(7)));
    assert_eq!(asked_to_wait(&policy, &seconds("61")), None);
    assert_eq!(asked_to_wait(&policy, &seconds("soon")), None);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let reset = headers(&[("x-ratelimit-reset", &(now + 30).to_string())]);
    let wait = asked_to_wait(&policy, &reset).expect("a time to come");
    assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
    let past = headers(&[("x-ratelimit-reset", &(now - 30).to_string())]);
    assert_eq!(asked_to_wait(&policy, &past), None);
}
