use super::*;

const ALWAYS: Sampling = Sampling { share: 1.0 };
const NEVER: Sampling = Sampling { share: 0.0 };
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn a_w3c_trace_is_continued_with_this_proxys_span() {
    let mut headers = headers(&[("traceparent", W3C), ("tracestate", "a=b")]);
    let span = continue_trace(&mut headers, NEVER);
    assert_eq!((span.trace, span.parent, span.sampled), (TRACE, Some(0x00f0_67aa_0ba9_02b7), true));
    let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", span.span);
    assert_eq!(headers["traceparent"], expected.as_str());
    assert_eq!(headers["tracestate"], "a=b");
    assert!(!headers.contains_key("b3"));
}

#[test]
fn b3_is_continued_in_the_form_it_came_in() {
    let mut multiple = headers(&[
        ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("x-b3-spanid", "00f067aa0ba902b7"),
        ("x-b3-sampled", "0"),
    ]);
    let span = continue_trace(&mut multiple, ALWAYS);
    assert_eq!((span.trace, span.sampled), (TRACE, false));
    assert_eq!(multiple["x-b3-spanid"], format!("{:016x}", span.span).as_str());
    assert_eq!(multiple["x-b3-parentspanid"], "00f067aa0ba902b7");
    assert_eq!(multiple["x-b3-sampled"], "0");

    let mut single = headers(&[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-d")]);
    let span = continue_trace(&mut single, NEVER);
    assert_eq!((span.trace, span.sampled), (0xa3ce_929d_0e0e_4736, true));
    assert!(single["b3"].to_str().unwrap().ends_with(&format!("-{:016x}-1", span.span)));
}

#[test]
fn a_trace_begins_where_there_is_none_and_is_sampled_by_share_or_as_asked() {
    let mut empty = HeaderMap::new();
    let span = continue_trace(&mut empty, ALWAYS);
    assert!(span.sampled && span.parent.is_none() && span.trace != 0);
    assert!(empty.contains_key("traceparent"));
    assert!(!continue_trace(&mut HeaderMap::new(), NEVER).sampled);
    assert!(continue_trace(&mut headers(&[("b3", "1")]), NEVER).sampled);
    assert!(!continue_trace(&mut headers(&[("x-b3-sampled", "0")]), ALWAYS).sampled);
}

#[test]
fn a_malformed_context_begins_a_new_trace() {
    for text in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e47361-0f067aa0ba902b7-01",
    ] {
        let mut headers = headers(&[("traceparent", text), ("tracestate", "a=b")]);
        let span = continue_trace(&mut headers, NEVER);
        assert!(span.parent.is_none() && span.trace != TRACE, "{text}");
        assert!(!headers.contains_key("tracestate"));
    }
}

#[test]
fn a_later_version_may_have_more_parts() {
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
    assert_eq!(continue_trace(&mut headers(&[("traceparent", later)]), NEVER).trace, TRACE);
}
