//! Faults that are injected on purpose, written for each route as the configuration of Envoy's fault filter.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use weft_proto::xds::fault as pb;
use weft_proto::xds::fault::fault_abort::ErrorType;
use weft_proto::xds::fault_common::{FaultDelay, fault_delay::FaultDelaySecifier};
use weft_proto::xds::protobuf::Any;
use weft_proto::xds::route::FilterConfig;

use super::reader::{Reader, fields};
use super::text;
use super::wire::{duration, pack};
use crate::policy::{Abort, Fault, Fraction};

/// Name of Envoy's filter.
pub(super) const FILTER: &str = "envoy.filters.http.fault";

pub(super) fn encode(fault: &Fault) -> (String, Any) {
    let delay = fault.delay.map(|(time, fraction)| FaultDelay {
        percentage: Some(text::encode_fraction(fraction)),
        fault_delay_secifier: duration(time).map(FaultDelaySecifier::FixedDelay),
    });
    let abort = fault.abort.map(|(abort, fraction)| pb::FaultAbort {
        percentage: Some(text::encode_fraction(fraction)),
        error_type: Some(match abort {
            Abort::Http(status) => ErrorType::HttpStatus(status.into()),
            Abort::Grpc(status) => ErrorType::GrpcStatus(status),
        }),
        ..Default::default()
    });
    (FILTER.to_owned(), pack(&pb::HttpFault { delay, abort, ..Default::default() }))
}

/// Reads a route's `typed_per_filter_config`, in which only the fault filter may stand.
pub(super) fn decode_per_route(reader: &mut Reader, configs: HashMap<String, Any>) -> Option<Fault> {
    let mut fault = None;
    for (filter, any) in configs {
        reader.within(&format!("typed_per_filter_config[{filter}]"), |reader| {
            if filter == FILTER {
                fault = unwrap(reader, any).and_then(|message| decode(reader, message));
            } else {
                reader.refuse::<()>("is not supported");
            }
        });
    }
    fault
}

/// A configuration may be wrapped, to say that it is optional.
fn unwrap(reader: &mut Reader, any: Any) -> Option<pb::HttpFault> {
    if !any.type_url.ends_with("/envoy.config.route.v3.FilterConfig") {
        return reader.unpack(&any);
    }
    match FilterConfig::decode(any.value.as_slice()) {
        Ok(FilterConfig { config: Some(config), disabled: false, .. }) => reader.unpack(&config),
        Ok(_) => reader.unsupported("disabled"),
        Err(error) => reader.refuse(format!("is no FilterConfig: {error}")),
    }
}

pub(super) fn decode(reader: &mut Reader, fault: pb::HttpFault) -> Option<Fault> {
    fields!(reader, fault => pb::HttpFault {
        delay, abort;
        ignored: max_active_faults, delay_percent_runtime, abort_percent_runtime, delay_duration_runtime,
            abort_http_status_runtime, max_active_faults_runtime, response_rate_limit_percent_runtime,
            abort_grpc_status_runtime, disable_downstream_cluster_stats, filter_metadata;
        refused: upstream_cluster, headers, downstream_nodes, response_rate_limit
    });
    let delay = reader.optional("delay", delay, decode_delay);
    let abort = reader.optional("abort", abort, decode_abort);
    Some(Fault { delay, abort })
}

fn decode_delay(reader: &mut Reader, delay: FaultDelay) -> Option<(Duration, Fraction)> {
    fields!(reader, delay => FaultDelay { percentage, fault_delay_secifier });
    let fraction = reader.required("percentage", percentage, text::decode_fraction);
    let time = match fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => reader.duration("fixed_delay", Some(delay)),
        Some(FaultDelaySecifier::HeaderDelay(_)) => reader.unsupported("header_delay"),
        None => reader.missing("fixed_delay"),
    };
    Some((time?, fraction?))
}

fn decode_abort(reader: &mut Reader, abort: pb::FaultAbort) -> Option<(Abort, Fraction)> {
    fields!(reader, abort => pb::FaultAbort { percentage, error_type; refused: response_body });
    let fraction = reader.required("percentage", percentage, text::decode_fraction);
    let abort = match error_type {
        Some(ErrorType::HttpStatus(status)) => match u16::try_from(status) {
            Ok(status) if (200..=599).contains(&status) => Some(Abort::Http(status)),
            _ => reader.refuse_at("http_status", format!("{status} is no status: 200 to 599")),
        },
        Some(ErrorType::GrpcStatus(status)) => Some(Abort::Grpc(status)),
        Some(ErrorType::HeaderAbort(_)) => reader.unsupported("header_abort"),
        None => reader.missing("http_status"),
    };
    Some((abort?, fraction?))
}
