//! What a request's hash is made of.

use weft_proto::xds::kind;
use weft_proto::xds::matcher;
use weft_proto::xds::route::route_action::HashPolicy as Message;
use weft_proto::xds::route::route_action::hash_policy as pb;
use weft_proto::xds::route::route_action::hash_policy::PolicySpecifier;

use super::reader::{Reader, fields};
use super::wire::duration;
use super::{headers, text};
use crate::hash_policy::{CookieHash, HashPolicy, HashSource, RegexRewrite};

pub(super) fn encode(policy: &HashPolicy) -> Message {
    let specifier = match &policy.source {
        HashSource::Header { name, rewrite } => PolicySpecifier::Header(pb::Header {
            header_name: name.to_string(),
            regex_rewrite: rewrite.as_ref().map(encode_rewrite),
        }),
        HashSource::Cookie(cookie) => PolicySpecifier::Cookie(pb::Cookie {
            name: cookie.name.to_string(),
            ttl: cookie.ttl.and_then(duration),
            path: cookie.path.to_string(),
            attributes: cookie
                .attributes
                .iter()
                .map(|(name, value)| pb::CookieAttribute { name: name.to_string(), value: value.to_string() })
                .collect(),
        }),
        HashSource::SourceIp => {
            PolicySpecifier::ConnectionProperties(pb::ConnectionProperties { source_ip: true })
        }
        HashSource::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(pb::QueryParameter { name: name.to_string() })
        }
    };
    Message { terminal: policy.terminal, policy_specifier: Some(specifier) }
}

fn encode_rewrite(rewrite: &RegexRewrite) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(text::encode_expression(rewrite.pattern())),
        substitution: rewrite.substitution().to_owned(),
    }
}

pub(super) fn decode(reader: &mut Reader, policy: Message) -> Option<HashPolicy> {
    fields!(reader, policy => Message { terminal, policy_specifier });
    let source = match policy_specifier {
        None => return reader.missing("policy_specifier"),
        Some(PolicySpecifier::Header(header)) => reader.within("header", |reader| {
            fields!(reader, header => pb::Header { header_name, regex_rewrite });
            let name = reader.within("header_name", |reader| headers::name(reader, header_name));
            let rewrite = match regex_rewrite {
                None => None,
                Some(rewrite) => {
                    Some(reader.within("regex_rewrite", |reader| decode_rewrite(reader, rewrite))?)
                }
            };
            Some(HashSource::Header { name: name?, rewrite })
        }),
        Some(PolicySpecifier::Cookie(cookie)) => {
            reader.within("cookie", |reader| decode_cookie(reader, cookie)).map(HashSource::Cookie)
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            Some(HashSource::SourceIp)
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            reader.refuse_at("connection_properties.source_ip", "is false, so that nothing is hashed")
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            reader.text("query_parameter.name", parameter.name).map(HashSource::QueryParameter)
        }
        Some(PolicySpecifier::FilterState(_)) => reader.unsupported("filter_state"),
    };
    Some(HashPolicy { source: source?, terminal })
}

fn decode_rewrite(reader: &mut Reader, rewrite: matcher::RegexMatchAndSubstitute) -> Option<RegexRewrite> {
    let pattern = rewrite.pattern.map(|pattern| pattern.regex).unwrap_or_default();
    match RegexRewrite::new(&pattern, &rewrite.substitution) {
        Ok(rewrite) => Some(rewrite),
        Err(error) => reader.refuse(format!("`{pattern}`: {error}")),
    }
}

fn decode_cookie(reader: &mut Reader, cookie: pb::Cookie) -> Option<CookieHash> {
    fields!(reader, cookie => pb::Cookie { name, ttl, path, attributes });
    let name = reader.text("name", name);
    let ttl = reader.duration("ttl", ttl);
    for text in attributes.iter().flat_map(|one| [&one.name, &one.value]).chain([&path]) {
        // It becomes part of a header: nothing may end it early.
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b';') {
            return reader.refuse(format!("`{}` cannot stand in a cookie", text.escape_default()));
        }
    }
    let attributes = attributes.into_iter().map(|one| (one.name.into(), one.value.into())).collect();
    Some(CookieHash { name: name?, ttl, path: path.into(), attributes })
}

/// A connection's only source of a hash: the client's address.
pub(super) fn encode_connection(source_ip: bool) -> Vec<kind::HashPolicy> {
    use kind::hash_policy::{PolicySpecifier, SourceIp};
    let policy = kind::HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})) };
    source_ip.then_some(policy).into_iter().collect()
}

pub(super) fn decode_connection(reader: &mut Reader, policies: Vec<kind::HashPolicy>) -> bool {
    use kind::hash_policy::PolicySpecifier;
    let read = reader.each("hash_policy", policies, |reader, policy| match policy.policy_specifier {
        Some(PolicySpecifier::SourceIp(_)) => Some(()),
        Some(PolicySpecifier::FilterState(_)) => reader.unsupported("filter_state"),
        None => reader.missing("policy_specifier"),
    });
    !read.is_empty()
}
