//! How an endpoint is chosen: `lb_policy` with its configuration, or `load_balancing_policy`, of whose list the first
//! that is known counts
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto>).
//!
//! What the older form can say is written in the older form. Peak EWMA, which Envoy does not have, is a policy of our
//! own in front of least request, which Envoy then takes.

use std::time::Duration;

use prost::Name;
use weft_proto::xds::cluster as pb;
use weft_proto::xds::cluster::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use weft_proto::xds::cluster::cluster::ring_hash_lb_config::HashFunction as PbHash;
use weft_proto::xds::cluster::cluster::{self as parts, CommonLbConfig, LbConfig, LbPolicy, LbSubsetConfig};
use weft_proto::xds::cluster::load_balancing_policy::Policy;
use weft_proto::xds::load_balancing as typed;
use weft_proto::xds::load_balancing::common::locality_lb_config::LocalityConfigSpecifier as TypedLocality;
use weft_proto::xds::protobuf::{self, Any, UInt32Value, UInt64Value};
use weft_proto::xds::{core, kind};

use super::reader::{Reader, fields};
use super::subset;
use super::wire::{duration, number, pack};
use crate::cluster::{Cluster, Discovery};
use crate::hash::HashFunction;
use crate::load_balancing::{
    Balancing, LeastRequest, LoadBalancing, LocalityBalancing, Maglev, PeakEwma, RingHash, SlowStart,
};

/// Envoy's panic threshold when none is given, in percent.
const DEFAULT_PANIC: f64 = 50.0;
/// Policies within policies are not looked into deeper than this.
const MOST_NESTED: u32 = 4;

/// `weft.mesh.v1alpha1.PeakEwma`, the configuration of an own policy.
#[derive(Clone, PartialEq, prost::Message)]
struct PeakEwmaMessage {
    #[prost(message, optional, tag = "1")]
    decay_time: Option<protobuf::Duration>,
    #[prost(message, optional, tag = "2")]
    default_rtt: Option<protobuf::Duration>,
}

impl Name for PeakEwmaMessage {
    const NAME: &'static str = "PeakEwma";
    const PACKAGE: &'static str = "weft.mesh.v1alpha1";

    fn type_url() -> String {
        format!("type.googleapis.com/{}", Self::full_name())
    }
}

/// What a cluster says of choosing.
pub(super) struct Form {
    pub(super) lb_policy: i32,
    pub(super) lb_config: Option<LbConfig>,
    pub(super) common: Option<CommonLbConfig>,
    pub(super) subsets: Option<LbSubsetConfig>,
    pub(super) policy: Option<pb::LoadBalancingPolicy>,
}

pub(super) fn encode(cluster: &Cluster) -> Form {
    let Balancing {
        slow_start,
        locality,
        panic_threshold,
        hash_by_hostname,
        hash_balance_factor,
        subsets: _,
    } = &cluster.balancing;
    let hashing = (*hash_by_hostname || hash_balance_factor.is_some()).then(|| ConsistentHashingLbConfig {
        use_hostname_for_hashing: *hash_by_hostname,
        hash_balance_factor: hash_balance_factor.and_then(number),
    });
    let common = CommonLbConfig {
        healthy_panic_threshold: Some(kind::Percent { value: *panic_threshold }),
        consistent_hashing_lb_config: hashing,
        locality_config_specifier: match locality {
            LocalityBalancing::Unweighted => None,
            LocalityBalancing::Weighted => {
                Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}))
            }
            LocalityBalancing::ZoneAware { fail_traffic_on_panic } => {
                Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
                    fail_traffic_on_panic: *fail_traffic_on_panic,
                    ..Default::default()
                }))
            }
        },
        ..Default::default()
    };
    let (lb_policy, lb_config, policy) = match (&cluster.discovery, cluster.load_balancing) {
        (Discovery::OriginalDst | Discovery::Dialled(_), _) => (LbPolicy::ClusterProvided, None, None),
        (_, algorithm) => encode_algorithm(algorithm, slow_start.as_ref(), *locality),
    };
    Form {
        lb_policy: lb_policy as i32,
        lb_config,
        common: Some(common),
        // Written by hand, in order.
        subsets: None,
        policy,
    }
}

type Encoded = (LbPolicy, Option<LbConfig>, Option<pb::LoadBalancingPolicy>);

fn encode_algorithm(
    algorithm: LoadBalancing,
    slow_start: Option<&SlowStart>,
    locality: LocalityBalancing,
) -> Encoded {
    let legacy_start = || slow_start.map(encode_slow_start);
    match algorithm {
        LoadBalancing::RoundRobin => {
            let config = slow_start.is_some().then(|| {
                LbConfig::RoundRobinLbConfig(parts::RoundRobinLbConfig { slow_start_config: legacy_start() })
            });
            (LbPolicy::RoundRobin, config, None)
        }
        LoadBalancing::Random => (LbPolicy::Random, None, None),
        LoadBalancing::LeastRequest(least) if least.full_scan => {
            let message = typed::least_request::LeastRequest {
                choice_count: number(least.choice_count),
                active_request_bias: encode_double(least.active_request_bias),
                slow_start_config: slow_start.map(typed_slow_start),
                locality_lb_config: encode_typed_locality(locality),
                selection_method: typed::least_request::least_request::SelectionMethod::FullScan as i32,
                ..Default::default()
            };
            (LbPolicy::LeastRequest, None, Some(list(vec![("least_request", pack(&message))])))
        }
        LoadBalancing::LeastRequest(LeastRequest::DEFAULT) if slow_start.is_none() => {
            (LbPolicy::LeastRequest, None, None)
        }
        LoadBalancing::LeastRequest(least) => {
            let config = parts::LeastRequestLbConfig {
                choice_count: number(least.choice_count),
                active_request_bias: encode_double(least.active_request_bias),
                slow_start_config: legacy_start(),
            };
            (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)), None)
        }
        LoadBalancing::RingHash(ring) => {
            let config = parts::RingHashLbConfig {
                minimum_ring_size: Some(UInt64Value { value: ring.minimum_size }),
                hash_function: match ring.function {
                    HashFunction::XxHash => PbHash::XxHash,
                    HashFunction::MurmurHash2 => PbHash::MurmurHash2,
                } as i32,
                maximum_ring_size: Some(UInt64Value { value: ring.maximum_size }),
            };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)), None)
        }
        LoadBalancing::Maglev(maglev) => {
            let table_size = Some(UInt64Value { value: maglev.table_size });
            (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(parts::MaglevLbConfig { table_size })), None)
        }
        LoadBalancing::PeakEwma(ewma) => {
            let message = PeakEwmaMessage {
                decay_time: duration(ewma.decay_time),
                default_rtt: duration(ewma.default_rtt),
            };
            let least = typed::least_request::LeastRequest {
                locality_lb_config: encode_typed_locality(locality),
                ..Default::default()
            };
            let policies = list(vec![("peak_ewma", pack(&message)), ("least_request", pack(&least))]);
            (LbPolicy::LeastRequest, None, Some(policies))
        }
    }
}

fn list(policies: Vec<(&str, Any)>) -> pb::LoadBalancingPolicy {
    let policy = |(name, config): (&str, Any)| Policy {
        typed_extension_config: Some(core::TypedExtensionConfig {
            name: format!("envoy.load_balancing_policies.{name}"),
            typed_config: Some(config),
        }),
    };
    pb::LoadBalancingPolicy { policies: policies.into_iter().map(policy).collect() }
}

fn encode_double(value: f64) -> Option<core::RuntimeDouble> {
    Some(core::RuntimeDouble { default_value: value, runtime_key: "weft".to_owned() })
}

fn encode_slow_start(start: &SlowStart) -> parts::SlowStartConfig {
    parts::SlowStartConfig {
        slow_start_window: duration(start.window),
        aggression: encode_double(start.aggression),
        min_weight_percent: Some(kind::Percent { value: start.min_weight_percent }),
    }
}

fn typed_slow_start(start: &SlowStart) -> typed::common::SlowStartConfig {
    typed::common::SlowStartConfig {
        slow_start_window: duration(start.window),
        aggression: encode_double(start.aggression),
        min_weight_percent: Some(kind::Percent { value: start.min_weight_percent }),
    }
}

fn encode_typed_locality(locality: LocalityBalancing) -> Option<typed::common::LocalityLbConfig> {
    use typed::common::locality_lb_config as form;
    let specifier = match locality {
        LocalityBalancing::Unweighted => return None,
        LocalityBalancing::Weighted => {
            TypedLocality::LocalityWeightedLbConfig(form::LocalityWeightedLbConfig {})
        }
        LocalityBalancing::ZoneAware { fail_traffic_on_panic } => {
            TypedLocality::ZoneAwareLbConfig(form::ZoneAwareLbConfig {
                fail_traffic_on_panic,
                ..Default::default()
            })
        }
    };
    Some(typed::common::LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

pub(super) fn decode(
    reader: &mut Reader,
    form: Form,
    discovery: Option<&Discovery>,
) -> Option<(LoadBalancing, Balancing)> {
    let Form { lb_policy, lb_config, common, subsets, policy } = form;
    let mut balancing =
        reader.within("common_lb_config", |reader| decode_common(reader, common.unwrap_or_default()));
    let algorithm = match policy {
        Some(list) => reader.within("load_balancing_policy", |reader| {
            decode_list(reader, list, discovery, &mut balancing, MOST_NESTED)
        }),
        None => decode_legacy(reader, lb_policy, lb_config, discovery, &mut balancing),
    };
    if let Some(subsets) = subsets {
        let read = reader.within("lb_subset_config", |reader| subset::decode(reader, subsets));
        balancing.subsets = read.filter(|subsets| !subsets.selectors.is_empty());
    }
    Some((algorithm?, balancing))
}

fn decode_common(reader: &mut Reader, common: CommonLbConfig) -> Balancing {
    fields!(reader, common => CommonLbConfig {
        healthy_panic_threshold, consistent_hashing_lb_config, locality_config_specifier;
        // Connections to an endpoint that went close when their requests are done, at once for every change.
        ignored: update_merge_window, ignore_new_hosts_until_first_hc, close_connections_on_host_set_change,
            override_host_status
    });
    let panic_threshold = percent(reader, "healthy_panic_threshold", healthy_panic_threshold, DEFAULT_PANIC);
    let (hash_by_hostname, factor) = consistent_hashing_lb_config
        .map(|hashing| (hashing.use_hostname_for_hashing, hashing.hash_balance_factor))
        .unwrap_or_default();
    let hash_balance_factor = decode_factor(reader, factor);
    let locality = match locality_config_specifier {
        None => LocalityBalancing::Unweighted,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => LocalityBalancing::Weighted,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            LocalityBalancing::ZoneAware { fail_traffic_on_panic: zone.fail_traffic_on_panic }
        }
    };
    Balancing {
        slow_start: None,
        locality,
        panic_threshold: panic_threshold.unwrap_or(DEFAULT_PANIC),
        hash_by_hostname,
        hash_balance_factor,
        subsets: None,
    }
}

fn decode_legacy(
    reader: &mut Reader,
    lb_policy: i32,
    config: Option<LbConfig>,
    discovery: Option<&Discovery>,
    balancing: &mut Balancing,
) -> Option<LoadBalancing> {
    if matches!(config, Some(LbConfig::OriginalDstLbConfig(_))) {
        reader.unsupported::<()>("original_dst_lb_config");
    }
    match LbPolicy::try_from(lb_policy) {
        Ok(LbPolicy::RoundRobin) => {
            if let Some(LbConfig::RoundRobinLbConfig(config)) = config {
                balancing.slow_start = reader.within("round_robin_lb_config", |reader| {
                    decode_slow_start(reader, config.slow_start_config.map(legacy_start))
                });
            }
            Some(LoadBalancing::RoundRobin)
        }
        Ok(LbPolicy::Random) => Some(LoadBalancing::Random),
        Ok(LbPolicy::LeastRequest) => match config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                reader.within("least_request_lb_config", |reader| {
                    balancing.slow_start =
                        decode_slow_start(reader, config.slow_start_config.map(legacy_start));
                    decode_least(reader, config.choice_count, config.active_request_bias, false)
                })
            }
            _ => Some(LoadBalancing::LEAST_REQUEST),
        },
        Ok(LbPolicy::RingHash) => match config {
            Some(LbConfig::RingHashLbConfig(config)) => reader.within("ring_hash_lb_config", |reader| {
                let function = match PbHash::try_from(config.hash_function) {
                    Ok(PbHash::XxHash) => Some(HashFunction::XxHash),
                    Ok(PbHash::MurmurHash2) => Some(HashFunction::MurmurHash2),
                    Err(_) => reader.refuse_at("hash_function", "is not known"),
                };
                decode_ring(reader, function, config.minimum_ring_size, config.maximum_ring_size)
            }),
            _ => Some(LoadBalancing::RingHash(RingHash::default())),
        },
        Ok(LbPolicy::Maglev) => match config {
            Some(LbConfig::MaglevLbConfig(config)) => {
                reader.within("maglev_lb_config", |reader| decode_maglev(reader, config.table_size))
            }
            _ => Some(LoadBalancing::Maglev(Maglev::default())),
        },
        // There is nothing to choose from.
        Ok(LbPolicy::ClusterProvided) if provides(discovery) => Some(LoadBalancing::RoundRobin),
        Ok(other) => reader.refuse_at("lb_policy", format!("{} is not supported", other.as_str_name())),
        Err(_) => reader.refuse_at("lb_policy", format!("{lb_policy} is not known")),
    }
}

fn provides(discovery: Option<&Discovery>) -> bool {
    matches!(discovery, None | Some(Discovery::OriginalDst | Discovery::Dialled(_)))
}

/// The first policy of a list that is known; others before it are left out, as in Envoy.
fn decode_list(
    reader: &mut Reader,
    list: pb::LoadBalancingPolicy,
    discovery: Option<&Discovery>,
    balancing: &mut Balancing,
    depth: u32,
) -> Option<LoadBalancing> {
    let mut unknown = Vec::new();
    for (index, policy) in list.policies.into_iter().enumerate() {
        let Some(core::TypedExtensionConfig { name, typed_config: Some(config) }) =
            policy.typed_extension_config
        else {
            continue;
        };
        let at = format!("policies[{index}].typed_extension_config.typed_config");
        match reader.within(&at, |reader| decode_typed(reader, &config, discovery, balancing, depth)) {
            Known::Yes(algorithm) => return algorithm,
            Known::No => unknown.push(format!("`{name}`")),
        }
    }
    reader.refuse_at("policies", format!("has none that is supported: {}", unknown.join(", ")))
}

/// Whether a policy is known, and if so what it says.
enum Known {
    Yes(Option<LoadBalancing>),
    No,
}

fn decode_typed(
    reader: &mut Reader,
    config: &Any,
    discovery: Option<&Discovery>,
    balancing: &mut Balancing,
    depth: u32,
) -> Known {
    use typed::{cluster_provided, least_request, maglev, random, ring_hash, round_robin, wrr_locality};
    let is = |name: String| config.type_url.rsplit('/').next() == Some(name.as_str());
    let algorithm = if is(round_robin::RoundRobin::full_name()) {
        reader.unpack::<round_robin::RoundRobin>(config).map(|message| {
            decode_typed_locality(message.locality_lb_config, balancing);
            balancing.slow_start = decode_slow_start(reader, message.slow_start_config);
            LoadBalancing::RoundRobin
        })
    } else if is(random::Random::full_name()) {
        reader.unpack::<random::Random>(config).map(|message| {
            decode_typed_locality(message.locality_lb_config, balancing);
            LoadBalancing::Random
        })
    } else if is(least_request::LeastRequest::full_name()) {
        reader.unpack::<least_request::LeastRequest>(config).and_then(|message| {
            decode_typed_locality(message.locality_lb_config, balancing);
            balancing.slow_start = decode_slow_start(reader, message.slow_start_config);
            let full_scan = message.enable_full_scan.is_some_and(|full| full.value)
                || message.selection_method == least_request::least_request::SelectionMethod::FullScan as i32;
            decode_least(reader, message.choice_count, message.active_request_bias, full_scan)
        })
    } else if is(ring_hash::RingHash::full_name()) {
        reader.unpack::<ring_hash::RingHash>(config).and_then(|m| decode_typed_ring(reader, m, balancing))
    } else if is(maglev::Maglev::full_name()) {
        reader.unpack::<maglev::Maglev>(config).and_then(|message| {
            decode_hashing(reader, message.consistent_hashing_lb_config, balancing);
            if message.locality_weighted_lb_config.is_some() {
                balancing.locality = LocalityBalancing::Weighted;
            }
            decode_maglev(reader, message.table_size)
        })
    } else if is(PeakEwmaMessage::full_name()) {
        reader.unpack::<PeakEwmaMessage>(config).and_then(|message| decode_ewma(reader, message))
    } else if is(cluster_provided::ClusterProvided::full_name()) && provides(discovery) {
        Some(LoadBalancing::RoundRobin)
    } else if is(wrr_locality::WrrLocality::full_name()) && depth > 0 {
        reader.unpack::<wrr_locality::WrrLocality>(config).and_then(|message| {
            balancing.locality = LocalityBalancing::Weighted;
            let inner = message.endpoint_picking_policy.unwrap_or_default();
            reader.within("endpoint_picking_policy", |reader| {
                decode_list(reader, inner, discovery, balancing, depth - 1)
            })
        })
    } else if is(typed::subset::Subset::full_name()) && depth > 0 {
        reader.unpack::<typed::subset::Subset>(config).and_then(|mut message| {
            let inner = message.subset_lb_policy.take().unwrap_or_default();
            balancing.subsets = subset::decode_typed(reader, message).filter(|s| !s.selectors.is_empty());
            reader.within("subset_lb_policy", |reader| {
                decode_list(reader, inner, discovery, balancing, depth - 1)
            })
        })
    } else {
        return Known::No;
    };
    Known::Yes(algorithm)
}

fn decode_typed_ring(
    reader: &mut Reader,
    message: typed::ring_hash::RingHash,
    balancing: &mut Balancing,
) -> Option<LoadBalancing> {
    use typed::ring_hash::ring_hash::HashFunction as Form;
    let function = match Form::try_from(message.hash_function) {
        Ok(Form::DefaultHash | Form::XxHash) => Some(HashFunction::XxHash),
        Ok(Form::MurmurHash2) => Some(HashFunction::MurmurHash2),
        Err(_) => reader.refuse_at("hash_function", "is not known"),
    };
    if message.use_hostname_for_hashing {
        balancing.hash_by_hostname = true;
    }
    if let Some(factor) = decode_factor(reader, message.hash_balance_factor) {
        balancing.hash_balance_factor = Some(factor);
    }
    decode_hashing(reader, message.consistent_hashing_lb_config, balancing);
    if message.locality_weighted_lb_config.is_some() {
        balancing.locality = LocalityBalancing::Weighted;
    }
    decode_ring(reader, function, message.minimum_ring_size, message.maximum_ring_size)
}

fn decode_hashing(
    reader: &mut Reader,
    hashing: Option<typed::common::ConsistentHashingLbConfig>,
    balancing: &mut Balancing,
) {
    let Some(hashing) = hashing else { return };
    reader.within("consistent_hashing_lb_config", |reader| {
        fields!(reader, hashing => typed::common::ConsistentHashingLbConfig {
            use_hostname_for_hashing, hash_balance_factor; refused: hash_policy
        });
        balancing.hash_by_hostname = use_hostname_for_hashing;
        balancing.hash_balance_factor = decode_factor(reader, hash_balance_factor);
    });
}

fn decode_factor(reader: &mut Reader, factor: Option<UInt32Value>) -> Option<u32> {
    match factor.map(|factor| factor.value) {
        // Envoy takes 0 for none.
        None | Some(0) => None,
        Some(factor) if factor >= 100 => Some(factor),
        Some(factor) => reader.refuse_at("hash_balance_factor", format!("{factor} is less than 100")),
    }
}

fn decode_typed_locality(config: Option<typed::common::LocalityLbConfig>, balancing: &mut Balancing) {
    match config.and_then(|config| config.locality_config_specifier) {
        None => {}
        Some(TypedLocality::LocalityWeightedLbConfig(_)) => balancing.locality = LocalityBalancing::Weighted,
        Some(TypedLocality::ZoneAwareLbConfig(zone)) => {
            balancing.locality =
                LocalityBalancing::ZoneAware { fail_traffic_on_panic: zone.fail_traffic_on_panic };
        }
    }
}

fn decode_least(
    reader: &mut Reader,
    choices: Option<UInt32Value>,
    bias: Option<core::RuntimeDouble>,
    full_scan: bool,
) -> Option<LoadBalancing> {
    let choice_count = choices.map_or(2, |choices| choices.value);
    if choice_count < 2 {
        return reader.refuse_at("choice_count", format!("{choice_count} is less than 2"));
    }
    let active_request_bias = bias.map_or(1.0, |bias| bias.default_value);
    if !active_request_bias.is_finite() || active_request_bias < 0.0 {
        return reader.refuse_at("active_request_bias", format!("{active_request_bias} is less than 0"));
    }
    Some(LoadBalancing::LeastRequest(LeastRequest { choice_count, active_request_bias, full_scan }))
}

fn decode_ring(
    reader: &mut Reader,
    function: Option<HashFunction>,
    minimum: Option<UInt64Value>,
    maximum: Option<UInt64Value>,
) -> Option<LoadBalancing> {
    let default = RingHash::default();
    let minimum_size = minimum.map_or(default.minimum_size, |size| size.value);
    let maximum_size = maximum.map_or(default.maximum_size, |size| size.value);
    if minimum_size > maximum_size || minimum_size == 0 || maximum_size > RingHash::MOST {
        let bounds = format!("{minimum_size} to {maximum_size} is not within 1 to {}", RingHash::MOST);
        return reader.refuse_at("minimum_ring_size", bounds);
    }
    Some(LoadBalancing::RingHash(RingHash { function: function?, minimum_size, maximum_size }))
}

fn decode_maglev(reader: &mut Reader, size: Option<UInt64Value>) -> Option<LoadBalancing> {
    let table_size = size.map_or(Maglev::default().table_size, |size| size.value);
    if !is_prime(table_size) || table_size > Maglev::MOST {
        let message = format!("{table_size} is no prime number up to {}", Maglev::MOST);
        return reader.refuse_at("table_size", message);
    }
    Some(LoadBalancing::Maglev(Maglev { table_size }))
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

fn decode_ewma(reader: &mut Reader, message: PeakEwmaMessage) -> Option<LoadBalancing> {
    let default = PeakEwma::default();
    let decay_time = reader.bound("decay_time", message.decay_time).unwrap_or(default.decay_time);
    let default_rtt = reader.duration("default_rtt", message.default_rtt).unwrap_or(default.default_rtt);
    Some(LoadBalancing::PeakEwma(PeakEwma { decay_time, default_rtt }))
}

fn legacy_start(start: parts::SlowStartConfig) -> typed::common::SlowStartConfig {
    let parts::SlowStartConfig { slow_start_window, aggression, min_weight_percent } = start;
    typed::common::SlowStartConfig { slow_start_window, aggression, min_weight_percent }
}

/// Without a window there is no slow start.
fn decode_slow_start(
    reader: &mut Reader,
    start: Option<typed::common::SlowStartConfig>,
) -> Option<SlowStart> {
    let start = start?;
    reader.within("slow_start_config", |reader| {
        let window: Duration = reader.bound("slow_start_window", start.slow_start_window)?;
        let aggression = start.aggression.map_or(1.0, |aggression| aggression.default_value);
        if !aggression.is_finite() || aggression <= 0.0 {
            return reader.refuse_at("aggression", format!("{aggression} is not more than 0"));
        }
        let least = SlowStart::MIN_WEIGHT_PERCENT;
        let min_weight_percent = percent(reader, "min_weight_percent", start.min_weight_percent, least)?;
        Some(SlowStart { window, aggression, min_weight_percent })
    })
}

fn percent(reader: &mut Reader, field: &str, percent: Option<kind::Percent>, default: f64) -> Option<f64> {
    let value = percent.map_or(default, |percent| percent.value);
    if (0.0..=100.0).contains(&value) {
        Some(value)
    } else {
        reader.refuse_at(field, format!("{value} is no percentage: 0 to 100"))
    }
}
