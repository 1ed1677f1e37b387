use super::{ProxyConfig, duration, parse};

#[test]
fn the_part_that_has_a_meaning_is_read() {
    let text = "concurrency: 3\nholdApplicationUntilProxyStarts: true\nterminationDrainDuration: 1m30s\n\
                proxyMetadata:\n  A: '1'\ntracing:\n  sampling: 12.5\n";
    let expected = ProxyConfig {
        concurrency: Some(3),
        hold: Some(true),
        drain: Some("1m30s".to_owned()),
        metadata: vec![("A".to_owned(), "1".to_owned())],
        sampling: Some(12.5),
    };
    assert_eq!(parse(text).unwrap(), expected);
    assert_eq!(parse(r#"{"concurrency": 0}"#).unwrap().concurrency, Some(0));
}

#[test]
fn everything_else_is_refused_by_name() {
    let text = "concurrency: -1\ndiscoveryAddress: x:1\nholdAplicationUntilProxyStarts: true\n\
                tracing: {zipkin: {}, sampling: 200}\nproxyMetadata: {'a-b': '1', C: 1}\n";
    let findings = parse(text).unwrap_err();
    let told: Vec<_> = findings.iter().map(|f| (f.field.as_str(), f.code)).collect();
    assert_eq!(
        told,
        [
            ("concurrency", "invalid-value"),
            ("discoveryAddress", "unsupported"),
            ("holdAplicationUntilProxyStarts", "unknown-field"),
            ("tracing.zipkin", "unsupported"),
            ("tracing.sampling", "invalid-value"),
            ("proxyMetadata.a-b", "invalid-value"),
            ("proxyMetadata.C", "wrong-type"),
        ]
    );
    assert!(findings[2].hint.contains("holdApplicationUntilProxyStarts"));
    assert!(parse("a: [").is_err());
    assert!(parse("just text").is_err());
}

#[test]
fn durations_are_written_for_the_sidecar() {
    assert_eq!(duration("90s").unwrap(), "1m30s");
    assert_eq!(duration("0s").unwrap(), "0s");
    assert!(duration("5").is_err());
}
