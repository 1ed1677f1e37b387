//! Subsets of a cluster's endpoints, and the metadata `envoy.lb` that they are made by.

use std::sync::Arc;

use weft_proto::xds::cluster::cluster::LbSubsetConfig;
use weft_proto::xds::cluster::cluster::lb_subset_config::lb_subset_selector::LbSubsetSelectorFallbackPolicy as OfSelector;
use weft_proto::xds::cluster::cluster::lb_subset_config::{LbSubsetFallbackPolicy, LbSubsetSelector};
use weft_proto::xds::core;
use weft_proto::xds::load_balancing::subset as typed;
use weft_proto::xds::protobuf::value::Kind;
use weft_proto::xds::protobuf::{Struct, Value};

use super::reader::{Reader, fields};
use super::wire::{OrderedKind, OrderedMetadata, OrderedStruct, OrderedValue};
use crate::subset::{LbMetadata, MetadataValue, SelectorFallback, SubsetFallback, SubsetSelector, Subsets};

/// Envoy's key of metadata that load balancers read.
pub(super) const KEY: &str = "envoy.lb";

/// Writes metadata in order, for resources whose bytes are compared.
pub(super) fn insert(metadata: &LbMetadata, into: &mut OrderedMetadata) {
    for (key, value) in ordered_struct(metadata).fields {
        into.insert(KEY, &key, value);
    }
}

fn ordered_struct(metadata: &LbMetadata) -> OrderedStruct {
    let value = |value: &MetadataValue| match value {
        MetadataValue::Text(text) => OrderedKind::Text(text.to_string()),
        MetadataValue::Number(bits) => OrderedKind::Number(f64::from_bits(*bits)),
        MetadataValue::Flag(flag) => OrderedKind::Flag(*flag),
    };
    let fields = metadata.iter().map(|(key, one)| (key.to_string(), OrderedValue { kind: Some(value(one)) }));
    OrderedStruct { fields: fields.collect() }
}

/// As `Metadata`; none when there is nothing. With more than one key its bytes have no fixed order, see `wire`.
pub(super) fn metadata(metadata: &LbMetadata) -> Option<core::Metadata> {
    let filter_metadata = [(KEY.to_owned(), encode_struct(metadata))].into();
    (!metadata.is_empty()).then(|| core::Metadata { filter_metadata, ..Default::default() })
}

pub(super) fn encode_struct(metadata: &LbMetadata) -> Struct {
    let value = |value: &MetadataValue| match value {
        MetadataValue::Text(text) => Kind::StringValue(text.to_string()),
        MetadataValue::Number(bits) => Kind::NumberValue(f64::from_bits(*bits)),
        MetadataValue::Flag(flag) => Kind::BoolValue(*flag),
    };
    let fields = metadata.iter().map(|(key, one)| (key.to_string(), Value { kind: Some(value(one)) }));
    Struct { fields: fields.collect() }
}

/// What an endpoint has, where values that are no text, number or flag tell nothing.
pub(super) fn of_endpoint(metadata: Option<&core::Metadata>) -> LbMetadata {
    let fields = metadata.and_then(|metadata| metadata.filter_metadata.get(KEY)).map(|part| &part.fields);
    let value = |(key, value): (&String, &Value)| Some((Arc::from(key.as_str()), decode_value(value)?));
    LbMetadata::new(fields.into_iter().flatten().filter_map(value))
}

/// What a request wants, where every value must be understood.
pub(super) fn of_request(
    reader: &mut Reader,
    field: &str,
    metadata: Option<core::Metadata>,
) -> Option<LbMetadata> {
    let part = metadata.and_then(|mut metadata| metadata.filter_metadata.remove(KEY)).unwrap_or_default();
    reader.within(field, |reader| decode_struct(reader, part))
}

pub(super) fn decode_struct(reader: &mut Reader, part: Struct) -> Option<LbMetadata> {
    let mut values = Vec::new();
    for (key, value) in part.fields {
        match decode_value(&value) {
            Some(value) => values.push((Arc::from(key), value)),
            None => return reader.refuse(format!("`{key}` is no text, number or flag")),
        }
    }
    Some(LbMetadata::new(values))
}

fn decode_value(value: &Value) -> Option<MetadataValue> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(MetadataValue::Text(text.as_str().into())),
        Kind::NumberValue(number) => Some(MetadataValue::Number(number.to_bits())),
        Kind::BoolValue(flag) => Some(MetadataValue::Flag(*flag)),
        Kind::NullValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => None,
    }
}

/// `LbSubsetConfig`, its map ordered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OrderedSubsets {
    #[prost(int32, tag = "1")]
    fallback_policy: i32,
    #[prost(message, optional, tag = "2")]
    default_subset: Option<OrderedStruct>,
    #[prost(message, repeated, tag = "3")]
    subset_selectors: Vec<LbSubsetSelector>,
}

pub(super) fn encode(subsets: &Subsets) -> OrderedSubsets {
    let texts = |keys: &[Arc<str>]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let selector = |selector: &SubsetSelector| {
        let (fallback, fallback_keys_subset) = match &selector.fallback {
            None => (OfSelector::NotDefined, Vec::new()),
            Some(SelectorFallback::As(SubsetFallback::None)) => (OfSelector::NoFallback, Vec::new()),
            Some(SelectorFallback::As(SubsetFallback::Any)) => (OfSelector::AnyEndpoint, Vec::new()),
            Some(SelectorFallback::As(SubsetFallback::DefaultSubset)) => {
                (OfSelector::DefaultSubset, Vec::new())
            }
            Some(SelectorFallback::Keys(keys)) => (OfSelector::KeysSubset, texts(keys)),
        };
        LbSubsetSelector {
            keys: texts(&selector.keys),
            single_host_per_subset: false,
            fallback_policy: fallback as i32,
            fallback_keys_subset,
        }
    };
    OrderedSubsets {
        fallback_policy: match subsets.fallback {
            SubsetFallback::None => LbSubsetFallbackPolicy::NoFallback,
            SubsetFallback::Any => LbSubsetFallbackPolicy::AnyEndpoint,
            SubsetFallback::DefaultSubset => LbSubsetFallbackPolicy::DefaultSubset,
        } as i32,
        default_subset: (!subsets.default_subset.is_empty()).then(|| ordered_struct(&subsets.default_subset)),
        subset_selectors: subsets.selectors.iter().map(selector).collect(),
    }
}

pub(super) fn decode(reader: &mut Reader, subsets: LbSubsetConfig) -> Option<Subsets> {
    fields!(reader, subsets => LbSubsetConfig {
        fallback_policy, default_subset, subset_selectors;
        refused: locality_weight_aware, scale_locality_weight, panic_mode_any, list_as_any,
            metadata_fallback_policy
    });
    let fallback = match LbSubsetFallbackPolicy::try_from(fallback_policy) {
        Ok(LbSubsetFallbackPolicy::NoFallback) => Some(SubsetFallback::None),
        Ok(LbSubsetFallbackPolicy::AnyEndpoint) => Some(SubsetFallback::Any),
        Ok(LbSubsetFallbackPolicy::DefaultSubset) => Some(SubsetFallback::DefaultSubset),
        Err(_) => reader.refuse_at("fallback_policy", format!("{fallback_policy} is not known")),
    };
    let default_subset =
        reader.within("default_subset", |reader| decode_struct(reader, default_subset.unwrap_or_default()));
    let selectors = reader.each("subset_selectors", subset_selectors, decode_selector);
    Some(Subsets { fallback: fallback?, default_subset: default_subset?, selectors })
}

fn decode_selector(reader: &mut Reader, selector: LbSubsetSelector) -> Option<SubsetSelector> {
    fields!(reader, selector => LbSubsetSelector {
        keys, fallback_policy, fallback_keys_subset; refused: single_host_per_subset
    });
    let keys = ordered(keys);
    if keys.is_empty() {
        return reader.refuse_at("keys", "is empty");
    }
    let fallback = match OfSelector::try_from(fallback_policy) {
        Ok(OfSelector::NotDefined) => None,
        Ok(OfSelector::NoFallback) => Some(SelectorFallback::As(SubsetFallback::None)),
        Ok(OfSelector::AnyEndpoint) => Some(SelectorFallback::As(SubsetFallback::Any)),
        Ok(OfSelector::DefaultSubset) => Some(SelectorFallback::As(SubsetFallback::DefaultSubset)),
        Ok(OfSelector::KeysSubset) => {
            let fewer = ordered(fallback_keys_subset);
            if fewer.is_empty() || fewer.len() >= keys.len() || !fewer.iter().all(|key| keys.contains(key)) {
                return reader.refuse_at("fallback_keys_subset", "is not some of `keys`, fewer than all");
            }
            Some(SelectorFallback::Keys(fewer))
        }
        Err(_) => return reader.refuse_at("fallback_policy", format!("{fallback_policy} is not known")),
    };
    Some(SubsetSelector { keys, fallback })
}

fn ordered(keys: Vec<String>) -> Arc<[Arc<str>]> {
    keys.into_iter().map(Arc::from).collect::<std::collections::BTreeSet<Arc<str>>>().into_iter().collect()
}

/// The newer form, without the policy within it.
pub(super) fn decode_typed(reader: &mut Reader, subsets: typed::Subset) -> Option<Subsets> {
    fields!(reader, subsets => typed::Subset {
        fallback_policy, default_subset, subset_selectors, locality_weight_aware, scale_locality_weight,
        panic_mode_any, list_as_any, metadata_fallback_policy;
        ignored: subset_lb_policy;
        refused: allow_redundant_keys
    });
    let selector = |selector: typed::subset::LbSubsetSelector| LbSubsetSelector {
        keys: selector.keys,
        single_host_per_subset: selector.single_host_per_subset,
        fallback_policy: selector.fallback_policy,
        fallback_keys_subset: selector.fallback_keys_subset,
    };
    let older = LbSubsetConfig {
        fallback_policy,
        default_subset,
        subset_selectors: subset_selectors.into_iter().map(selector).collect(),
        locality_weight_aware,
        scale_locality_weight,
        panic_mode_any,
        list_as_any,
        metadata_fallback_policy,
    };
    decode(reader, older)
}
