//! When an endpoint is left out for a while.

use std::time::Duration;

use weft_proto::xds::cluster as pb;
use weft_proto::xds::protobuf::UInt32Value;

use super::reader::{Reader, fields};
use super::wire::{duration, flag, number};
use crate::cluster::{FailurePercentage, OutlierDetection, SuccessRate};

/// Envoy's numbers where none are given.
const CONSECUTIVE: u32 = 5;
const FAILURE_THRESHOLD: u32 = 85;
const FAILURE_MINIMUM_HOSTS: u32 = 5;
const FAILURE_REQUEST_VOLUME: u32 = 50;

pub(super) fn encode(outlier: &OutlierDetection) -> pb::OutlierDetection {
    let some = |count: u32| if count > 0 { number(count) } else { None };
    let enforce = |count: u32, percent: u32| number(if count > 0 { percent } else { 0 });
    let mut message = pb::OutlierDetection {
        consecutive_5xx: some(outlier.consecutive_5xx),
        enforcing_consecutive_5xx: enforce(outlier.consecutive_5xx, outlier.enforcing_consecutive_5xx),
        consecutive_gateway_failure: some(outlier.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforce(
            outlier.consecutive_gateway_errors,
            outlier.enforcing_consecutive_gateway_errors,
        ),
        enforcing_success_rate: number(0),
        interval: duration(outlier.interval),
        base_ejection_time: duration(outlier.base_ejection_time),
        max_ejection_percent: number(outlier.max_ejection_percent),
        always_eject_one_host: flag(outlier.always_eject_one),
        ..Default::default()
    };
    if outlier.split_local_origin_errors {
        let count = outlier.consecutive_local_origin_failures;
        message.split_external_local_origin_errors = true;
        message.consecutive_local_origin_failure = some(count);
        message.enforcing_consecutive_local_origin_failure =
            enforce(count, outlier.enforcing_consecutive_local_origin_failures);
        message.enforcing_local_origin_success_rate = number(0);
    }
    if outlier.max_ejection_time != OutlierDetection::MAX_EJECTION_TIME {
        message.max_ejection_time = duration(outlier.max_ejection_time);
    }
    if !outlier.max_ejection_time_jitter.is_zero() {
        message.max_ejection_time_jitter = duration(outlier.max_ejection_time_jitter);
    }
    if let Some(rate) = outlier.success_rate {
        message.enforcing_success_rate = number(rate.enforcing);
        message.enforcing_local_origin_success_rate = number(rate.enforcing_local_origin);
        message.success_rate_minimum_hosts = number(rate.minimum_hosts);
        message.success_rate_request_volume = number(rate.request_volume);
        message.success_rate_stdev_factor = number(rate.stdev_factor);
    }
    if let Some(failures) = outlier.failure_percentage {
        message.enforcing_failure_percentage = number(failures.enforcing);
        message.enforcing_failure_percentage_local_origin = number(failures.enforcing_local_origin);
        message.failure_percentage_threshold = number(failures.threshold);
        message.failure_percentage_minimum_hosts = number(failures.minimum_hosts);
        message.failure_percentage_request_volume = number(failures.request_volume);
    }
    message
}

pub(super) fn decode(reader: &mut Reader, outlier: pb::OutlierDetection) -> Option<OutlierDetection> {
    fields!(reader, outlier => pb::OutlierDetection {
        consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx,
        consecutive_gateway_failure, enforcing_consecutive_gateway_failure, enforcing_success_rate,
        success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
        split_external_local_origin_errors, consecutive_local_origin_failure,
        enforcing_consecutive_local_origin_failure, enforcing_local_origin_success_rate,
        failure_percentage_threshold, enforcing_failure_percentage, enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts, failure_percentage_request_volume, max_ejection_time,
        max_ejection_time_jitter, always_eject_one_host;
        // What an active check says and what requests show are two things here: an ejection ends by its time.
        ignored: successful_active_health_check_uneject_host;
        refused: monitors, detect_degraded_hosts
    });
    let mut percent = |field: &str, percent: Option<UInt32Value>, default: u32| {
        let percent = percent.map_or(default, |percent| percent.value);
        if percent > 100 {
            reader.refuse_at::<()>(field, format!("{percent} is more than 100"));
        }
        percent
    };
    let enforcing_5xx = percent("enforcing_consecutive_5xx", enforcing_consecutive_5xx, 100);
    let enforcing_gateway =
        percent("enforcing_consecutive_gateway_failure", enforcing_consecutive_gateway_failure, 0);
    let enforcing_local = percent(
        "enforcing_consecutive_local_origin_failure",
        enforcing_consecutive_local_origin_failure,
        100,
    );
    let success = percent("enforcing_success_rate", enforcing_success_rate, 100);
    let success_local =
        percent("enforcing_local_origin_success_rate", enforcing_local_origin_success_rate, 100);
    let failure = percent("enforcing_failure_percentage", enforcing_failure_percentage, 0);
    let failure_local =
        percent("enforcing_failure_percentage_local_origin", enforcing_failure_percentage_local_origin, 0);
    let threshold = percent("failure_percentage_threshold", failure_percentage_threshold, FAILURE_THRESHOLD);
    let max_ejection_percent = percent("max_ejection_percent", max_ejection_percent, 10);
    let or = |value: Option<UInt32Value>, default: u32| value.map_or(default, |value| value.value);
    // What is not enforced is not counted, and has the chance of what was not asked for.
    let consecutive = |count: Option<UInt32Value>, enforcing: u32| {
        let count = if enforcing > 0 { or(count, CONSECUTIVE) } else { 0 };
        if count > 0 { (count, enforcing) } else { (0, 100) }
    };
    let split = split_external_local_origin_errors;
    let (consecutive_5xx, enforcing_consecutive_5xx) = consecutive(consecutive_5xx, enforcing_5xx);
    let (consecutive_gateway_errors, enforcing_consecutive_gateway_errors) =
        consecutive(consecutive_gateway_failure, enforcing_gateway);
    let (consecutive_local_origin_failures, enforcing_consecutive_local_origin_failures) =
        consecutive(consecutive_local_origin_failure, if split { enforcing_local } else { 0 });
    let default = SuccessRate::default();
    let success_rate = (success > 0 || (split && success_local > 0)).then(|| SuccessRate {
        enforcing: success,
        enforcing_local_origin: success_local,
        minimum_hosts: or(success_rate_minimum_hosts, default.minimum_hosts),
        request_volume: or(success_rate_request_volume, default.request_volume),
        stdev_factor: or(success_rate_stdev_factor, default.stdev_factor),
    });
    let failure_percentage = (failure > 0 || (split && failure_local > 0)).then(|| FailurePercentage {
        enforcing: failure,
        enforcing_local_origin: failure_local,
        threshold,
        minimum_hosts: or(failure_percentage_minimum_hosts, FAILURE_MINIMUM_HOSTS),
        request_volume: or(failure_percentage_request_volume, FAILURE_REQUEST_VOLUME),
    });
    Some(OutlierDetection {
        consecutive_5xx,
        enforcing_consecutive_5xx,
        consecutive_gateway_errors,
        enforcing_consecutive_gateway_errors,
        split_local_origin_errors: split,
        consecutive_local_origin_failures,
        enforcing_consecutive_local_origin_failures,
        success_rate,
        failure_percentage,
        interval: reader.bound("interval", interval).unwrap_or(Duration::from_secs(10)),
        base_ejection_time: reader
            .bound("base_ejection_time", base_ejection_time)
            .unwrap_or(Duration::from_secs(30)),
        max_ejection_time: reader
            .duration("max_ejection_time", max_ejection_time)
            .unwrap_or(OutlierDetection::MAX_EJECTION_TIME),
        max_ejection_time_jitter: reader
            .duration("max_ejection_time_jitter", max_ejection_time_jitter)
            .unwrap_or_default(),
        max_ejection_percent,
        always_eject_one: always_eject_one_host.is_some_and(|always| always.value),
    })
}
