//! Which requests a route is for.

use std::sync::Arc;

use weft_proto::xds::route as pb;
use weft_proto::xds::route::header_matcher::HeaderMatchSpecifier as HeaderForm;
use weft_proto::xds::route::query_parameter_matcher::QueryParameterMatchSpecifier as QueryForm;
use weft_proto::xds::route::route_match::PathSpecifier;

use super::headers;
use super::reader::{Reader, fields};
use super::text;
use super::wire::flag;
use crate::matcher::{
    HeaderKey, HeaderMatch, PathMatch, PseudoHeader, QueryMatch, StringMatch, StringPattern, ValueMatch,
};
use crate::route::RouteMatch;

pub(super) fn encode(matches: &RouteMatch) -> pb::RouteMatch {
    let (path, ignore_case) = encode_path(&matches.path);
    pb::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: if ignore_case { flag(false) } else { None },
        headers: matches.headers.iter().map(encode_header).collect(),
        query_parameters: matches.query.iter().map(encode_query).collect(),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, matches: pb::RouteMatch) -> Option<RouteMatch> {
    fields!(reader, matches => pb::RouteMatch {
        case_sensitive, headers, query_parameters, path_specifier;
        refused: runtime_fraction, cookies, grpc, tls_context, dynamic_metadata, filter_state
    });
    let ignore_case = case_sensitive.is_some_and(|sensitive| !sensitive.value);
    let path = match path_specifier {
        Some(path) => decode_path(reader, path, ignore_case),
        None => reader.missing("path_specifier"),
    };
    let headers = reader.each("headers", headers, decode_header);
    let query = reader.each("query_parameters", query_parameters, decode_query);
    Some(RouteMatch { path: path?, headers, query })
}

fn encode_path(path: &PathMatch) -> (PathSpecifier, bool) {
    match path {
        PathMatch::Prefix { prefix, ignore_case } => {
            (PathSpecifier::Prefix(prefix.to_string()), *ignore_case)
        }
        PathMatch::SeparatedPrefix(prefix) if prefix.is_empty() => (PathSpecifier::Prefix("/".into()), false),
        PathMatch::SeparatedPrefix(prefix) => (PathSpecifier::PathSeparatedPrefix(prefix.to_string()), false),
        PathMatch::Exact { path, ignore_case } => (PathSpecifier::Path(path.to_string()), *ignore_case),
        PathMatch::Regex(regex) => (PathSpecifier::SafeRegex(text::encode_regex(regex)), false),
    }
}

fn decode_path(reader: &mut Reader, path: PathSpecifier, ignore_case: bool) -> Option<PathMatch> {
    match path {
        PathSpecifier::Prefix(prefix) => Some(PathMatch::Prefix { prefix: prefix.into(), ignore_case }),
        PathSpecifier::Path(path) => Some(PathMatch::Exact { path: path.into(), ignore_case }),
        PathSpecifier::SafeRegex(regex) => {
            reader.within("safe_regex", |reader| text::decode_regex(reader, regex)).map(PathMatch::Regex)
        }
        PathSpecifier::PathSeparatedPrefix(_) if ignore_case => {
            reader.refuse_at("case_sensitive", "cannot be false with path_separated_prefix")
        }
        PathSpecifier::PathSeparatedPrefix(prefix)
            if prefix.ends_with('/') || prefix.contains(['?', '#']) =>
        {
            reader.refuse_at(
                "path_separated_prefix",
                format!("`{prefix}` ends with a slash, or has a `?` or `#`"),
            )
        }
        PathSpecifier::PathSeparatedPrefix(prefix) => Some(PathMatch::SeparatedPrefix(prefix.into())),
        PathSpecifier::ConnectMatcher(_) => reader.unsupported("connect_matcher"),
        PathSpecifier::PathMatchPolicy(_) => reader.unsupported("path_match_policy"),
    }
}

pub(super) fn encode_header(header: &HeaderMatch) -> pb::HeaderMatcher {
    let name = match &header.name {
        HeaderKey::Header(name) => name.as_str(),
        HeaderKey::Pseudo(PseudoHeader::Authority) => ":authority",
        HeaderKey::Pseudo(PseudoHeader::Method) => ":method",
        HeaderKey::Pseudo(PseudoHeader::Path) => ":path",
        HeaderKey::Pseudo(PseudoHeader::Scheme) => ":scheme",
    };
    let form = match &header.value {
        ValueMatch::Present => HeaderForm::PresentMatch(true),
        ValueMatch::Value(string) => HeaderForm::StringMatch(text::encode(string)),
    };
    pb::HeaderMatcher {
        name: name.to_owned(),
        invert_match: header.invert,
        treat_missing_header_as_empty: header.absent_as_empty,
        header_match_specifier: Some(form),
    }
}

pub(super) fn decode_header(reader: &mut Reader, header: pb::HeaderMatcher) -> Option<HeaderMatch> {
    fields!(reader, header => pb::HeaderMatcher {
        name, invert_match, treat_missing_header_as_empty, header_match_specifier
    });
    let key = match name.as_str() {
        ":authority" => Some(HeaderKey::Pseudo(PseudoHeader::Authority)),
        ":method" => Some(HeaderKey::Pseudo(PseudoHeader::Method)),
        ":path" => Some(HeaderKey::Pseudo(PseudoHeader::Path)),
        ":scheme" => Some(HeaderKey::Pseudo(PseudoHeader::Scheme)),
        _ => reader.within("name", |reader| headers::name(reader, name)).map(HeaderKey::Header),
    };
    let mut invert = invert_match;
    let value = match header_match_specifier {
        None | Some(HeaderForm::PresentMatch(true)) => Some(ValueMatch::Present),
        Some(HeaderForm::PresentMatch(false)) => {
            invert = !invert;
            Some(ValueMatch::Present)
        }
        Some(form) => decode_header_form(reader, form).map(ValueMatch::Value),
    };
    Some(HeaderMatch { name: key?, value: value?, invert, absent_as_empty: treat_missing_header_as_empty })
}

/// All but presence; among them the forms that older control planes write.
fn decode_header_form(reader: &mut Reader, form: HeaderForm) -> Option<StringMatch> {
    let pattern = match form {
        HeaderForm::StringMatch(string) => {
            return reader.within("string_match", |reader| text::decode(reader, string));
        }
        HeaderForm::ExactMatch(text) => StringPattern::Exact(text.into()),
        HeaderForm::PrefixMatch(text) => StringPattern::Prefix(text.into()),
        HeaderForm::SuffixMatch(text) => StringPattern::Suffix(text.into()),
        HeaderForm::ContainsMatch(text) => StringPattern::Contains(text.into()),
        HeaderForm::SafeRegexMatch(regex) => {
            let regex = reader.within("safe_regex_match", |reader| text::decode_regex(reader, regex));
            StringPattern::Regex(regex?)
        }
        HeaderForm::RangeMatch(_) => return reader.unsupported("range_match"),
        HeaderForm::PresentMatch(_) => return reader.unsupported("present_match"),
    };
    Some(StringMatch { pattern, ignore_case: false })
}

fn encode_query(query: &QueryMatch) -> pb::QueryParameterMatcher {
    let form = match &query.value {
        ValueMatch::Present => QueryForm::PresentMatch(true),
        ValueMatch::Value(string) => QueryForm::StringMatch(text::encode(string)),
    };
    pb::QueryParameterMatcher { name: query.name.to_string(), query_parameter_match_specifier: Some(form) }
}

fn decode_query(reader: &mut Reader, query: pb::QueryParameterMatcher) -> Option<QueryMatch> {
    let pb::QueryParameterMatcher { name, query_parameter_match_specifier } = query;
    let name: Option<Arc<str>> = reader.text("name", name);
    let value = match query_parameter_match_specifier {
        None | Some(QueryForm::PresentMatch(true)) => Some(ValueMatch::Present),
        Some(QueryForm::PresentMatch(false)) => reader.refuse_at("present_match", "cannot be false"),
        Some(QueryForm::StringMatch(string)) => {
            reader.within("string_match", |reader| text::decode(reader, string)).map(ValueMatch::Value)
        }
    };
    Some(QueryMatch { name: name?, value: value? })
}
