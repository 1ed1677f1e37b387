//! When an endpoint is left out for a while.
//!
//! Envoy's other ways of finding an outlier (success rate, failure percentage) are switched off when written and
//! ignored when read, as they are on by default there and nobody asked for them.

use std::time::Duration;

use weft_proto::xds::cluster as pb;
use weft_proto::xds::protobuf::UInt32Value;

use super::reader::{Reader, fields};
use super::wire::{duration, flag, number};
use crate::cluster::OutlierDetection;

pub(super) fn encode(outlier: &OutlierDetection) -> pb::OutlierDetection {
    let some = |count: u32| if count > 0 { number(count) } else { None };
    let enforce = |count: u32| number(if count > 0 { 100 } else { 0 });
    pb::OutlierDetection {
        consecutive_5xx: some(outlier.consecutive_5xx),
        enforcing_consecutive_5xx: enforce(outlier.consecutive_5xx),
        consecutive_gateway_failure: some(outlier.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforce(outlier.consecutive_gateway_errors),
        enforcing_success_rate: number(0),
        interval: duration(outlier.interval),
        base_ejection_time: duration(outlier.base_ejection_time),
        max_ejection_percent: number(outlier.max_ejection_percent),
        always_eject_one_host: flag(true),
        ..Default::default()
    }
}

/// `min_health_percent` is the cluster's panic threshold.
pub(super) fn decode(
    reader: &mut Reader,
    outlier: pb::OutlierDetection,
    min_health_percent: u32,
) -> Option<OutlierDetection> {
    fields!(reader, outlier => pb::OutlierDetection {
        consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx,
        consecutive_gateway_failure, enforcing_consecutive_gateway_failure;
        ignored: enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume,
            success_rate_stdev_factor, consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure, enforcing_local_origin_success_rate,
            failure_percentage_threshold, enforcing_failure_percentage,
            enforcing_failure_percentage_local_origin, failure_percentage_minimum_hosts,
            failure_percentage_request_volume, max_ejection_time, max_ejection_time_jitter,
            successful_active_health_check_uneject_host, always_eject_one_host, split_external_local_origin_errors;
        refused: monitors, detect_degraded_hosts
    });
    // Envoy's defaults: both after 5; the first kind is enforced, the second only looked at.
    let count = |count: Option<UInt32Value>, enforcing: Option<UInt32Value>, default: u32| {
        let enforced = enforcing.map_or(default, |percent| percent.value) > 0;
        if enforced { count.map_or(5, |count| count.value) } else { 0 }
    };
    let percent = max_ejection_percent.map_or(10, |percent| percent.value);
    if percent > 100 {
        reader.refuse_at::<()>("max_ejection_percent", format!("{percent} is more than 100"));
    }
    Some(OutlierDetection {
        consecutive_5xx: count(consecutive_5xx, enforcing_consecutive_5xx, 100),
        consecutive_gateway_errors: count(
            consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure,
            0,
        ),
        interval: reader.bound("interval", interval).unwrap_or(Duration::from_secs(10)),
        base_ejection_time: reader
            .bound("base_ejection_time", base_ejection_time)
            .unwrap_or(Duration::from_secs(30)),
        max_ejection_percent: percent,
        min_health_percent,
    })
}
