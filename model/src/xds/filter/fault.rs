//! Faults that are injected on purpose.

use std::time::Duration;

use weft_proto::xds::fault as pb;
use weft_proto::xds::fault::fault_abort::ErrorType;
use weft_proto::xds::fault_common::{FaultDelay, fault_delay::FaultDelaySecifier};

use super::super::reader::{Reader, fields};
use super::super::wire::{duration, number};
use super::super::{route_match, text};
use crate::policy::{Abort, Fault, Fraction};

pub(super) fn encode(fault: &Fault) -> pb::HttpFault {
    use weft_proto::xds::fault::fault_abort::HeaderAbort;
    use weft_proto::xds::fault_common::fault_delay::HeaderDelay;
    let delay = |fraction, kind| FaultDelay {
        percentage: Some(text::encode_fraction(fraction)),
        fault_delay_secifier: kind,
    };
    let abort = |fraction, kind| pb::FaultAbort {
        percentage: Some(text::encode_fraction(fraction)),
        error_type: Some(kind),
        ..Default::default()
    };
    let by_header = || Some(FaultDelaySecifier::HeaderDelay(HeaderDelay {}));
    let delay = match fault.delay {
        Some((time, fraction)) => Some(delay(fraction, duration(time).map(FaultDelaySecifier::FixedDelay))),
        None => fault.delay_by_header.map(|fraction| delay(fraction, by_header())),
    };
    let abort = match fault.abort {
        Some((Abort::Http(status), fraction)) => Some(abort(fraction, ErrorType::HttpStatus(status.into()))),
        Some((Abort::Grpc(status), fraction)) => Some(abort(fraction, ErrorType::GrpcStatus(status))),
        None => fault.abort_by_header.map(|fraction| abort(fraction, ErrorType::HeaderAbort(HeaderAbort {}))),
    };
    pb::HttpFault {
        delay,
        abort,
        upstream_cluster: fault.upstream_cluster.as_deref().unwrap_or_default().to_owned(),
        headers: fault.headers.iter().map(route_match::encode_header).collect(),
        max_active_faults: fault.max_active.and_then(number),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, fault: pb::HttpFault) -> Option<Fault> {
    fields!(reader, fault => pb::HttpFault {
        delay, abort, upstream_cluster, headers, max_active_faults;
        ignored: delay_percent_runtime, abort_percent_runtime, delay_duration_runtime,
            abort_http_status_runtime, max_active_faults_runtime, response_rate_limit_percent_runtime,
            abort_grpc_status_runtime, disable_downstream_cluster_stats, filter_metadata;
        refused: downstream_nodes, response_rate_limit
    });
    let mut fault = Fault {
        upstream_cluster: (!upstream_cluster.is_empty()).then(|| upstream_cluster.into()),
        headers: reader.each("headers", headers, route_match::decode_header),
        max_active: max_active_faults.map(|most| most.value),
        ..Fault::default()
    };
    match reader.optional("delay", delay, decode_delay) {
        Some((Some(time), fraction)) => fault.delay = Some((time, fraction)),
        Some((None, fraction)) => fault.delay_by_header = Some(fraction),
        None => {}
    }
    match reader.optional("abort", abort, decode_abort) {
        Some((Some(abort), fraction)) => fault.abort = Some((abort, fraction)),
        Some((None, fraction)) => fault.abort_by_header = Some(fraction),
        None => {}
    }
    Some(fault)
}

/// `None` within: the request says for how long.
fn decode_delay(reader: &mut Reader, delay: FaultDelay) -> Option<(Option<Duration>, Fraction)> {
    fields!(reader, delay => FaultDelay { percentage, fault_delay_secifier });
    let fraction = reader.required("percentage", percentage, text::decode_fraction);
    let time = match fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => reader.duration("fixed_delay", Some(delay)).map(Some),
        Some(FaultDelaySecifier::HeaderDelay(_)) => Some(None),
        None => reader.missing("fixed_delay"),
    };
    Some((time?, fraction?))
}

/// `None` within: the request says how.
fn decode_abort(reader: &mut Reader, abort: pb::FaultAbort) -> Option<(Option<Abort>, Fraction)> {
    fields!(reader, abort => pb::FaultAbort { percentage, error_type; refused: response_body });
    let fraction = reader.required("percentage", percentage, text::decode_fraction);
    let abort = match error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(status) {
            Ok(status) if (200..=599).contains(&status) => Some(Some(Abort::Http(status))),
            _ => reader.refuse_at("http_status", format!("{status} is no status: 200 to 599")),
        },
        Some(ErrorType::GrpcStatus(status)) => Some(Some(Abort::Grpc(status))),
        Some(ErrorType::HeaderAbort(_)) => Some(None),
        None => reader.missing("http_status"),
    };
    Some((abort?, fraction?))
}
