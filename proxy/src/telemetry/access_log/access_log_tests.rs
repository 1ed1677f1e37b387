use std::io::{self, Write};
use std::sync::mpsc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::ResponseFlag;
use crate::filters::trace_context::Span;
use crate::telemetry::test_support::{Sample, identity, inbound, outbound};

fn line(format: &Format, sample: &Sample) -> String {
    let own = identity("productpage");
    let mut out = Vec::new();
    format.write(&Entry::Request(&sample.request(), Some(&own)), &mut Clockwork::default(), &mut out);
    String::from_utf8(out).unwrap()
}

fn text(format: &str, sample: &Sample) -> String {
    line(&Format::text(format).unwrap(), sample)
}

#[test]
fn istios_default_format() {
    insta::assert_snapshot!(line(&Format::istio(), &outbound()), @r##"[2026-11-23T11:52:31.042Z] "GET /reviews/1?full=yes HTTP/1.1" 200 - via_upstream - "-" 12 345 7 6 "-" "curl/8" "11111111-2222-4333-8444-555555555555" "reviews:9080" "10.0.0.8:9080" outbound|9080||reviews.default.svc.cluster.local 10.0.0.7:40002 10.96.0.9:9080 10.0.0.7:51000 - reviews-v2"##);
}

#[test]
fn istios_default_format_of_a_connection() {
    let sample = outbound();
    let mut record = sample.tcp();
    record.started_at = sample.request().started_at;
    let mut out = Vec::new();
    Format::istio().write(&Entry::Tcp(&record, None), &mut Clockwork::default(), &mut out);
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r##"[2026-11-23T11:52:31.042Z] "- - -" 0 - - - "-" 100 200 7 - "-" "-" "-" "-" "10.0.0.8:9080" outbound|9080||reviews.default.svc.cluster.local 10.0.0.7:40002 10.96.0.9:9080 10.0.0.7:51000 - -"##);
}

#[test]
fn operators_with_arguments() {
    let mut sample = inbound();
    sample.grpc = true;
    sample.grpc_status = Some(HeaderValue::from_static("5"));
    sample.flags.insert(ResponseFlag::UpstreamConnectionFailure);
    sample.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
    sample.span = Some(Span { trace: 0xabc, span: 1, parent: None, sampled: true });
    let cases = [
        ("%START_TIME(%Y/%m/%d %H:%M:%S)%", "2026/11/23 11:52:31"),
        ("%REQ(X-NONE?:PATH):8%", "/reviews"),
        ("%REQ(x-none)%", "-"),
        ("%REQ(User-Agent)% 100%%", "curl/8 100%"),
        ("%RESP(:STATUS)%", "200"),
        ("%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%", "NotFound NOT_FOUND 5"),
        ("%RESPONSE_FLAGS%", "UF,URX"),
        ("%DOWNSTREAM_PEER_URI_SAN%", "spiffe://cluster.local/ns/default/sa/productpage"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "10.0.0.7 51000"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"),
        ("%TRACE_ID%", "00000000000000000000000000000abc"),
        ("%WEFT_PROVENANCE%", "HTTPRoute/default/reviews@3 spec.rules[0]"),
    ];
    for (format, expected) in cases {
        assert_eq!(text(format, &sample), format!("{expected}\n"), "{format}");
    }
}

#[test]
fn json_keeps_numbers_and_nothing() {
    let format = Format::json(&json!({
        "start": "%START_TIME%",
        "code": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "line": "%REQ(:METHOD)% %REQ(:PATH)%",
        "nested": { "host": "%UPSTREAM_HOST%", "sni": "%REQUESTED_SERVER_NAME%", "constant": 7 },
        "list": ["%DURATION%", true],
    }))
    .unwrap();
    let value: serde_json::Value = serde_json::from_str(&line(&format, &outbound())).unwrap();
    assert_eq!(
        value,
        json!({
            "start": "2026-11-23T11:52:31.042Z",
            "code": 200,
            "flags": null,
            "line": "GET /reviews/1?full=yes",
            "nested": { "host": "10.0.0.8:9080", "sni": null, "constant": 7 },
            "list": [7, true],
        })
    );
}

#[test]
fn all_mistakes_of_a_format_are_told_at_once_with_their_places() {
    let refused =
        Format::text("%DURATION% %DURTION% é %REQ% %BYTES_SENT(x)% %REQ(a b)% %TRAILER(x)% 5% ").unwrap_err();
    let places: Vec<usize> = refused.0.iter().map(|error| error.position).collect();
    assert_eq!(places, [12, 24, 30, 46, 57, 71], "{refused}");
    assert!(refused.to_string().contains("character 12: unknown operator %DURTION%"), "{refused}");
    let refused = Format::json(&json!({ "a": { "b": "%NO%" }, "c": "%START_TIME(%!)%" })).unwrap_err();
    let keys: Vec<&str> = refused.0.iter().map(|error| &*error.key).collect();
    assert_eq!(keys, ["a.b", "c"], "{refused}");
    assert!(Format::json(&json!("%DURATION%")).is_err());
}

#[test]
fn a_client_cannot_forge_lines_or_fields() {
    let mut sample = outbound();
    sample.path = "/x\" 200 - \u{7f}\r\n[2026] \\".to_owned();
    sample.request_headers.insert("user-agent", HeaderValue::from_bytes(b"\xffagent\" \"\t").unwrap());
    let forged = text("\"%REQ(:PATH)%\" \"%REQ(USER-AGENT)%\"", &sample);
    assert_eq!(forged, "\"/x\\x22 200 - \\x7f\\x0d\\x0a[2026] \\x5c\" \"\\xffagent\\x22 \\x22\\x09\"\n");
}

const EVERYTHING: &str = "%START_TIME% %REQ(:METHOD)% %REQ(:PATH):9% %REQ(:AUTHORITY)% %REQ(:SCHEME)% %REQ(X-ANY?Y)% \
    %RESP(X-ANY)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% \
    %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT% \
    %UPSTREAM_PEER_URI_SAN% %UPSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_PORT% \
    %DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %REQUESTED_SERVER_NAME% %ROUTE_NAME% %GRPC_STATUS% \
    %GRPC_STATUS_NUMBER% %TRACE_ID% %WEFT_PROVENANCE% %START_TIME(%s)%";

fn arbitrary_sample() -> impl Strategy<Value = Sample> {
    let value = prop::collection::vec(any::<u8>(), 0..40);
    (any::<String>(), any::<String>(), value, any::<bool>(), any::<bool>(), 0_u8..30, any::<u64>()).prop_map(
        |(path, name, value, reached, tells, grpc, millis)| {
            let mut sample = inbound();
            sample.method = Method::from_bytes(&value).unwrap_or_default();
            sample.path.clone_from(&path);
            sample.authority.clone_from(&name);
            sample.route.clone_from(&name);
            sample.transport_failure.clone_from(&path);
            sample.connection.server_name = Some((&*path).into());
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                sample.request_headers.insert(HeaderName::from_static("x-any"), value.clone());
                sample.response_headers.insert(HeaderName::from_static("x-any"), value);
            }
            sample.provenance[0].field = (&*name).into();
            sample.grpc = tells;
            sample.grpc_status = HeaderValue::from_str(&grpc.to_string()).ok();
            sample.duration = Duration::from_millis(millis);
            if !reached {
                (sample.upstream, sample.status) = (None, None);
            }
            sample
        },
    )
}

proptest! {
    #[test]
    fn every_record_is_one_line_of_printable_text(sample in arbitrary_sample()) {
        let line = text(EVERYTHING, &sample);
        prop_assert!(line.ends_with('\n'));
        let printable = line[..line.len() - 1].bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"');
        prop_assert!(printable, "{line:?}");
    }

    #[test]
    fn every_record_is_one_line_of_json(sample in arbitrary_sample()) {
        let operators: serde_json::Map<_, _> = EVERYTHING
            .split(' ')
            .map(|operator| (operator.to_owned(), format!("<{operator}>").into()))
            .collect();
        let line = line(&Format::json(&operators.into()).unwrap(), &sample);
        prop_assert!(!line[..line.len() - 1].chars().any(|char| char.is_control() || char == '\u{2028}'), "{line:?}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let path = sample.path.bytes().take(9).collect::<Vec<_>>();
        let expected = format!("<{}>", if path.is_empty() { "-".into() } else { String::from_utf8_lossy(&path) });
        prop_assert_eq!(value["%REQ(:PATH):9%"].as_str(), Some(&*expected));
    }

    #[test]
    fn no_format_panics(format in any::<String>(), pieces in prop::collection::vec("%[A-Z_]{0,4}(\\([^)]{0,3}\\)?)?(:[0-9]?)?%?", 0..4)) {
        for format in [format, pieces.concat()] {
            if let Ok(format) = Format::text(&format) {
                line(&format, &outbound());
            }
        }
    }
}

/// Lets one write through for every token, and tells what was written.
struct Gate {
    tokens: mpsc::Receiver<io::Result<()>>,
    written: mpsc::Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tokens.recv().unwrap_or(Ok(()))?;
        self.written.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_reader_costs_lines_and_never_time() {
    let (tokens, taken) = mpsc::channel();
    let (written, lines) = mpsc::channel();
    let writer = Writer::start_with(Box::new(Gate { tokens: taken, written }));
    for _ in 0..1_000 {
        writer.write(b"line\n".to_vec(), 1);
    }
    let (_, dropped) = writer.counts();
    assert!((900..1_000).contains(&dropped), "{dropped}: 64 wait, and one is being written");
    drop(tokens);
    let kept = lines.iter().take(1_000 - dropped as usize).count();
    assert_eq!(kept as u64 + dropped, 1_000);
}

#[tokio::test]
async fn after_a_full_disk_lines_begin_on_lines_of_their_own() {
    let (tokens, taken) = mpsc::channel();
    let (written, lines) = mpsc::channel();
    let writer = Writer::start_with(Box::new(Gate { tokens: taken, written }));
    tokens.send(Err(io::Error::from(io::ErrorKind::StorageFull))).unwrap();
    drop(tokens);
    writer.write(b"lost\n".to_vec(), 1);
    writer.write(b"kept\n".to_vec(), 1);
    writer.flush().unwrap().await.unwrap();
    assert_eq!(writer.counts(), (1, 1));
    drop(writer);
    assert_eq!(lines.iter().collect::<Vec<_>>().concat(), b"\nkept\n");
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let writer = Writer::start(&Destination::File(path.clone())).unwrap();
    writer.write(b"first\n".to_vec(), 1);
    writer.flush().unwrap().await.unwrap();
    std::fs::rename(&path, &moved).unwrap();
    writer.reopen();
    writer.write(b"second\n".to_vec(), 1);
    writer.flush().unwrap().await.unwrap();
    assert_eq!(std::fs::read(&moved).unwrap(), b"first\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"second\n");
}
