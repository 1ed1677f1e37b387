//! Asking endpoints whether they are well.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use weft_proto::xds::core as pb;
use weft_proto::xds::core::RequestMethod;
use weft_proto::xds::core::health_check::payload::Payload as Content;
use weft_proto::xds::core::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck,
};
use weft_proto::xds::kind::{CodecClientType, Int64Range};

use super::headers;
use super::reader::{Reader, fields};
use super::wire::{duration, flag, number};
use crate::health_check::{HealthCheck, HealthQuestion, HttpQuestion};

const METHODS: [(RequestMethod, Method); 8] = [
    (RequestMethod::Get, Method::GET),
    (RequestMethod::Head, Method::HEAD),
    (RequestMethod::Post, Method::POST),
    (RequestMethod::Put, Method::PUT),
    (RequestMethod::Delete, Method::DELETE),
    (RequestMethod::Options, Method::OPTIONS),
    (RequestMethod::Trace, Method::TRACE),
    (RequestMethod::Patch, Method::PATCH),
];

pub(super) fn encode(check: &HealthCheck) -> pb::HealthCheck {
    let some = |time: Duration| if time.is_zero() { None } else { duration(time) };
    pb::HealthCheck {
        timeout: duration(check.timeout),
        interval: duration(check.interval),
        initial_jitter: some(check.initial_jitter),
        interval_jitter: some(check.interval_jitter),
        interval_jitter_percent: check.interval_jitter_percent,
        unhealthy_threshold: number(check.unhealthy_threshold),
        healthy_threshold: number(check.healthy_threshold),
        alt_port: check.alt_port.and_then(|port| number(port.into())),
        reuse_connection: if check.reuse_connection { None } else { flag(false) },
        no_traffic_interval: duration(check.no_traffic_interval),
        no_traffic_healthy_interval: check.no_traffic_healthy_interval.and_then(duration),
        unhealthy_interval: check.unhealthy_interval.and_then(duration),
        unhealthy_edge_interval: check.unhealthy_edge_interval.and_then(duration),
        healthy_edge_interval: check.healthy_edge_interval.and_then(duration),
        health_checker: Some(encode_question(&check.question)),
        ..Default::default()
    }
}

fn encode_question(question: &HealthQuestion) -> HealthChecker {
    let payload = |bytes: &Bytes| Payload { payload: Some(Content::Binary(bytes.to_vec())) };
    let range = |(start, end): &(u16, u16)| Int64Range { start: (*start).into(), end: (*end).into() };
    match question {
        HealthQuestion::Http(http) => {
            let (request_headers_to_add, request_headers_to_remove) = headers::encode(&http.headers);
            let method = METHODS.iter().find(|(_, method)| *method == http.method);
            let codec = if http.http2 { CodecClientType::Http2 } else { CodecClientType::Http1 };
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                host: http.host.to_string(),
                path: http.path.to_string(),
                request_headers_to_add,
                request_headers_to_remove,
                expected_statuses: http.expected_statuses.iter().map(range).collect(),
                retriable_statuses: http.retriable_statuses.iter().map(range).collect(),
                codec_client_type: codec as i32,
                method: method.map_or(0, |(number, _)| *number as i32),
                ..Default::default()
            })
        }
        HealthQuestion::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.to_string(),
            authority: authority.to_string(),
            ..Default::default()
        }),
        HealthQuestion::Tcp { send, receive } => HealthChecker::TcpHealthCheck(TcpHealthCheck {
            send: send.as_ref().map(payload),
            receive: receive.iter().map(payload).collect(),
            ..Default::default()
        }),
    }
}

/// Envoy takes one at most.
pub(super) fn decode(reader: &mut Reader, checks: Vec<pb::HealthCheck>) -> Option<Option<HealthCheck>> {
    if checks.len() > 1 {
        return reader.refuse_at("health_checks", "has more than one");
    }
    let asked = !checks.is_empty();
    let mut read = reader.each("health_checks", checks, decode_one);
    if asked && read.is_empty() { None } else { Some(read.pop()) }
}

fn decode_one(reader: &mut Reader, check: pb::HealthCheck) -> Option<HealthCheck> {
    fields!(reader, check => pb::HealthCheck {
        timeout, interval, initial_jitter, interval_jitter, interval_jitter_percent, unhealthy_threshold,
        healthy_threshold, alt_port, reuse_connection, no_traffic_interval, no_traffic_healthy_interval,
        unhealthy_interval, unhealthy_edge_interval, healthy_edge_interval, health_checker;
        ignored: event_log_path, event_logger, event_service, always_log_health_check_failures,
            always_log_health_check_success;
        refused: tls_options, transport_socket_match_criteria
    });
    let Some(timeout) = reader.bound("timeout", timeout) else {
        return reader.refuse_at("timeout", "must be more than 0");
    };
    let Some(interval) = reader.bound("interval", interval) else {
        return reader.refuse_at("interval", "must be more than 0");
    };
    let mut threshold = |field: &str, count: Option<weft_proto::xds::protobuf::UInt32Value>| match count {
        Some(count) => Some(count.value.max(1)),
        None => reader.missing(field),
    };
    let unhealthy_threshold = threshold("unhealthy_threshold", unhealthy_threshold);
    let healthy_threshold = threshold("healthy_threshold", healthy_threshold);
    let alt_port = match alt_port.map(|port| u16::try_from(port.value)) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return reader.refuse_at("alt_port", "is no port: 1 to 65535"),
    };
    let question = match health_checker {
        None => reader.missing("health_checker"),
        Some(HealthChecker::HttpHealthCheck(http)) => {
            reader.within("http_health_check", |reader| decode_http(reader, http)).map(HealthQuestion::Http)
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => reader.within("grpc_health_check", |reader| {
            fields!(reader, grpc => GrpcHealthCheck { service_name, authority; refused: initial_metadata });
            Some(HealthQuestion::Grpc { service: service_name.into(), authority: authority.into() })
        }),
        Some(HealthChecker::TcpHealthCheck(tcp)) => reader.within("tcp_health_check", |reader| {
            fields!(reader, tcp => TcpHealthCheck { send, receive; refused: proxy_protocol_config });
            let send = match send {
                None => None,
                some => Some(reader.required("send", some, decode_payload)?),
            };
            Some(HealthQuestion::Tcp { send, receive: reader.each("receive", receive, decode_payload) })
        }),
        Some(HealthChecker::CustomHealthCheck(_)) => reader.unsupported("custom_health_check"),
    };
    Some(HealthCheck {
        timeout,
        interval,
        no_traffic_interval: reader
            .bound("no_traffic_interval", no_traffic_interval)
            .unwrap_or(HealthCheck::NO_TRAFFIC_INTERVAL),
        no_traffic_healthy_interval: reader.bound("no_traffic_healthy_interval", no_traffic_healthy_interval),
        unhealthy_interval: reader.bound("unhealthy_interval", unhealthy_interval),
        unhealthy_edge_interval: reader.bound("unhealthy_edge_interval", unhealthy_edge_interval),
        healthy_edge_interval: reader.bound("healthy_edge_interval", healthy_edge_interval),
        initial_jitter: reader.duration("initial_jitter", initial_jitter).unwrap_or_default(),
        interval_jitter: reader.duration("interval_jitter", interval_jitter).unwrap_or_default(),
        interval_jitter_percent,
        unhealthy_threshold: unhealthy_threshold?,
        healthy_threshold: healthy_threshold?,
        alt_port,
        reuse_connection: reuse_connection.is_none_or(|reuse| reuse.value),
        question: question?,
    })
}

fn decode_http(reader: &mut Reader, http: HttpHealthCheck) -> Option<HttpQuestion> {
    fields!(reader, http => HttpHealthCheck {
        host, path, request_headers_to_add, request_headers_to_remove, expected_statuses, retriable_statuses,
        codec_client_type, method;
        // Bounds what is kept for `receive`.
        ignored: response_buffer_size;
        refused: send, receive, service_name_matcher
    });
    let path: Option<Arc<str>> = match path.parse::<http::uri::PathAndQuery>() {
        Ok(_) if path.starts_with('/') => Some(path.into()),
        _ => reader.refuse_at("path", format!("`{path}` is no path")),
    };
    let headers = headers::decode(reader, "request", request_headers_to_add, request_headers_to_remove);
    let expected = reader.each("expected_statuses", expected_statuses, decode_range);
    let retriable_statuses = reader.each("retriable_statuses", retriable_statuses, decode_range);
    let http2 = match CodecClientType::try_from(codec_client_type) {
        Ok(CodecClientType::Http1) => Some(false),
        Ok(CodecClientType::Http2) => Some(true),
        _ => reader.refuse_at("codec_client_type", "is neither HTTP1 nor HTTP2"),
    };
    let method = match METHODS.iter().find(|(number, _)| *number as i32 == method) {
        Some((_, method)) => Some(method.clone()),
        None if method == RequestMethod::MethodUnspecified as i32 => Some(Method::GET),
        None => reader.refuse_at("method", "is not supported"),
    };
    Some(HttpQuestion {
        host: host.into(),
        path: path?,
        method: method?,
        headers,
        expected_statuses: if expected.is_empty() { vec![(200, 201)] } else { expected },
        retriable_statuses,
        http2: http2?,
    })
}

fn decode_range(reader: &mut Reader, range: Int64Range) -> Option<(u16, u16)> {
    match (u16::try_from(range.start), u16::try_from(range.end)) {
        (Ok(start), Ok(end)) if (100..600).contains(&start) && start < end && end <= 600 => {
            Some((start, end))
        }
        _ => reader.refuse(format!("{} to {} is no range within 100 to 600", range.start, range.end)),
    }
}

fn decode_payload(reader: &mut Reader, payload: Payload) -> Option<Bytes> {
    match payload.payload {
        Some(Content::Binary(bytes)) if !bytes.is_empty() => Some(bytes.into()),
        Some(Content::Text(text)) if !text.is_empty() && text.len() % 2 == 0 => {
            let byte = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
            match (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => Some(bytes.into()),
                None => reader.refuse_at("text", "is no text of hexadecimal digits"),
            }
        }
        Some(Content::Text(_)) => reader.refuse_at("text", "is no text of hexadecimal digits"),
        _ => reader.missing("payload"),
    }
}
