//! Changes to headers as a filter.

use weft_proto::xds::header_mutation as pb;
use weft_proto::xds::mutation_rules::HeaderMutation;
use weft_proto::xds::mutation_rules::header_mutation::Action;

use super::super::headers;
use super::super::reader::{Reader, fields};
use crate::filter::{HeaderEdit, HeaderEdits};
use crate::policy::HeaderMutations;

pub(super) fn encode(edits: &HeaderEdits) -> pb::Mutations {
    let all = |edits: &[HeaderEdit]| edits.iter().flat_map(encode_edit).collect();
    pb::Mutations {
        request_mutations: all(&edits.request),
        response_mutations: all(&edits.response),
        ..Default::default()
    }
}

fn encode_edit(HeaderEdit(mutations): &HeaderEdit) -> Vec<HeaderMutation> {
    let (add, remove) = headers::encode(mutations);
    let actions = remove.into_iter().map(Action::Remove).chain(add.into_iter().map(Action::Append));
    actions.map(|action| HeaderMutation { action: Some(action) }).collect()
}

pub(super) fn decode(reader: &mut Reader, mutations: Option<pb::Mutations>) -> HeaderEdits {
    let mutations = mutations.unwrap_or_default();
    reader.within("mutations", |reader| {
        fields!(reader, mutations => pb::Mutations {
            request_mutations, response_mutations;
            refused: query_parameter_mutations, response_trailers_mutations, request_trailers_mutations
        });
        HeaderEdits {
            request: reader.each("request_mutations", request_mutations, decode_edit),
            response: reader.each("response_mutations", response_mutations, decode_edit),
            most_specific_wins: false,
        }
    })
}

fn decode_edit(reader: &mut Reader, mutation: HeaderMutation) -> Option<HeaderEdit> {
    let mut mutations = HeaderMutations::default();
    match mutation.action {
        Some(Action::Remove(name)) => {
            mutations.remove.push(reader.within("remove", |reader| headers::name(reader, name))?);
        }
        Some(Action::Append(option)) => {
            mutations.add.push(reader.within("append", |reader| headers::decode_change(reader, option))?);
        }
        Some(Action::RemoveOnMatch(_)) => return reader.unsupported("remove_on_match"),
        None => return reader.missing("action"),
    }
    Some(HeaderEdit(mutations))
}
