//! Where a rule came from, in metadata `weft.provenance`: `{rules: ["API_VERSION/KIND/NAMESPACE/NAME@GENERATION#FIELD"]}`.
//!
//! One text for each, because it is read by people in Envoy's configuration dump too, and because it is shorter than
//! four named values.

use weft_proto::xds::core;
use weft_proto::xds::protobuf::value::Kind;

use super::reader::Reader;
use super::wire::{OrderedMetadata, OrderedValue, metadata_value};
use crate::provenance::{ObjectRef, Provenance};

const READER: &str = "weft.provenance";
const KEY: &str = "rules";

pub(super) fn encode(provenance: &[Provenance], metadata: &mut OrderedMetadata) {
    if !provenance.is_empty() {
        let rules = provenance.iter().map(|one| OrderedValue::text(&text(one))).collect();
        metadata.insert(READER, KEY, OrderedValue::list(rules));
    }
}

/// Metadata that holds nothing else.
pub(super) fn metadata(provenance: &[Provenance]) -> Option<core::Metadata> {
    let mut metadata = OrderedMetadata::default();
    encode(provenance, &mut metadata);
    metadata.to_unordered()
}

pub(super) fn decode(reader: &mut Reader, metadata: Option<&core::Metadata>) -> Vec<Provenance> {
    let Some(Kind::ListValue(list)) = metadata_value(metadata, READER, KEY) else { return Vec::new() };
    reader.within("metadata.filter_metadata[weft.provenance]", |reader| {
        reader.each(KEY, &list.values, |reader, value| match &value.kind {
            Some(Kind::StringValue(text)) => match parse(text) {
                Some(provenance) => Some(provenance),
                None => reader.refuse(format!(
                    "`{text}` is not of the form API_VERSION/KIND/NAMESPACE/NAME@GENERATION#FIELD"
                )),
            },
            _ => reader.refuse("is no text"),
        })
    })
}

fn text(provenance: &Provenance) -> String {
    let Provenance { object: ObjectRef { api_version, kind, namespace, name }, generation, field } =
        provenance;
    format!("{api_version}/{kind}/{namespace}/{name}@{generation}#{field}")
}

fn parse(text: &str) -> Option<Provenance> {
    let (object, field) = text.split_once('#')?;
    let (object, generation) = object.rsplit_once('@')?;
    let mut parts = object.rsplitn(4, '/');
    let (name, namespace, kind, api_version) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Provenance {
        object: ObjectRef::new(api_version, kind, namespace, name),
        generation: generation.parse().ok()?,
        field: field.into(),
    })
}
