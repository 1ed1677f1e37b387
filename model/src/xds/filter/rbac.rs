//! Who may do what, for requests and for connections.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use weft_proto::xds::kind::Int32Range;
use weft_proto::xds::matcher::{self, path_matcher};
use weft_proto::xds::rbac as http_pb;
use weft_proto::xds::rbac_rules as pb;
use weft_proto::xds::rbac_rules::{permission, permission::Rule, principal, principal::Identifier, rbac};

use super::super::reader::{Reader, fields};
use super::super::{address, route_match, text};
use crate::filter::rbac::{Condition, Deed, Doer, Permission, Policy, Principal, Rbac, RbacAction, Rules};
use crate::matcher::StringMatch;

pub(super) fn encode(rbac: &Rbac) -> http_pb::Rbac {
    http_pb::Rbac {
        rules: rbac.rules.as_ref().map(encode_rules),
        shadow_rules: rbac.shadow_rules.as_ref().map(encode_rules),
        ..Default::default()
    }
}

pub(super) fn decode(reader: &mut Reader, rbac: http_pb::Rbac) -> Option<Rbac> {
    fields!(reader, rbac => http_pb::Rbac {
        rules, shadow_rules;
        ignored: rules_stat_prefix, shadow_rules_stat_prefix, track_per_rule_stats;
        refused: matcher, shadow_matcher
    });
    decode_both(reader, rules, shadow_rules)
}

pub(in crate::xds) fn decode_both(
    reader: &mut Reader,
    rules: Option<pb::Rbac>,
    shadow_rules: Option<pb::Rbac>,
) -> Option<Rbac> {
    let of = |reader: &mut Reader, field: &str, rules: Option<pb::Rbac>| match rules {
        None => Some(None),
        some => reader.required(field, some, decode_rules).map(Some),
    };
    let (rules, shadow_rules) = (of(reader, "rules", rules), of(reader, "shadow_rules", shadow_rules));
    Some(Rbac { rules: rules?, shadow_rules: shadow_rules? })
}

pub(in crate::xds) fn encode_rules(rules: &Rules) -> pb::Rbac {
    let action = match rules.action {
        RbacAction::Allow => rbac::Action::Allow,
        RbacAction::Deny => rbac::Action::Deny,
        RbacAction::Log => rbac::Action::Log,
    };
    let policy = |policy: &Policy| pb::Policy {
        permissions: policy.permissions.iter().map(encode_permission).collect(),
        principals: policy.principals.iter().map(encode_principal).collect(),
        ..Default::default()
    };
    let policies: HashMap<_, _> =
        rules.policies.iter().map(|one| (one.name.to_string(), policy(one))).collect();
    pb::Rbac { action: action as i32, policies, ..Default::default() }
}

fn decode_rules(reader: &mut Reader, rules: pb::Rbac) -> Option<Rules> {
    fields!(reader, rules => pb::Rbac { action, policies; ignored: audit_logging_options });
    let action = match rbac::Action::try_from(action) {
        Ok(rbac::Action::Allow) => Some(RbacAction::Allow),
        Ok(rbac::Action::Deny) => Some(RbacAction::Deny),
        Ok(rbac::Action::Log) => Some(RbacAction::Log),
        Err(_) => reader.refuse_at("action", format!("{action} is not known")),
    };
    let mut sorted: Vec<_> = policies.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut policies = Vec::new();
    for (name, policy) in sorted {
        let read = |reader: &mut Reader| decode_policy(reader, &name, policy);
        policies.push(reader.within(&format!("policies[{name}]"), read));
    }
    // A policy that is left out would allow or deny something else.
    Some(Rules { action: action?, policies: policies.into_iter().collect::<Option<_>>()? })
}

fn decode_policy(reader: &mut Reader, name: &str, policy: pb::Policy) -> Option<Policy> {
    fields!(reader, policy => pb::Policy {
        permissions, principals;
        ignored: cel_config;
        refused: condition, checked_condition
    });
    let permissions = reader.each("permissions", permissions, decode_permission);
    let principals = reader.each("principals", principals, decode_principal);
    Some(Policy { name: Arc::from(name), permissions, principals })
}

fn encode_permission(permission: &Permission) -> pb::Permission {
    let set = |all: &[Permission]| permission::Set { rules: all.iter().map(encode_permission).collect() };
    let rule = match permission {
        Condition::Any => Rule::Any(true),
        Condition::And(all) => Rule::AndRules(set(all)),
        Condition::Or(any) => Rule::OrRules(set(any)),
        Condition::Not(one) => Rule::NotRule(Box::new(encode_permission(one))),
        Condition::Header(header) => Rule::Header(route_match::encode_header(header)),
        Condition::UrlPath(path) => Rule::UrlPath(encode_path(path)),
        Condition::Special(Deed::DestinationIp(prefix)) => {
            Rule::DestinationIp(address::encode_prefix(prefix))
        }
        Condition::Special(Deed::DestinationPort(ports)) if ports.start() == ports.end() => {
            Rule::DestinationPort((*ports.start()).into())
        }
        Condition::Special(Deed::DestinationPort(ports)) => Rule::DestinationPortRange(Int32Range {
            start: (*ports.start()).into(),
            end: i32::from(*ports.end()) + 1,
        }),
        Condition::Special(Deed::ServerName(name)) => Rule::RequestedServerName(text::encode(name)),
    };
    pb::Permission { rule: Some(rule) }
}

fn decode_permission(reader: &mut Reader, permission: pb::Permission) -> Option<Permission> {
    Some(match permission.rule {
        None => return reader.missing("rule"),
        Some(Rule::Any(_)) => Condition::Any,
        Some(Rule::AndRules(set)) => {
            Condition::And(all(reader, "and_rules.rules", set.rules, decode_permission)?)
        }
        Some(Rule::OrRules(set)) => {
            Condition::Or(all(reader, "or_rules.rules", set.rules, decode_permission)?)
        }
        Some(Rule::NotRule(one)) => {
            Condition::Not(Box::new(reader.within("not_rule", |reader| decode_permission(reader, *one))?))
        }
        Some(Rule::Header(header)) => {
            Condition::Header(reader.within("header", |reader| route_match::decode_header(reader, header))?)
        }
        Some(Rule::UrlPath(path)) => {
            Condition::UrlPath(reader.within("url_path", |reader| decode_path(reader, path))?)
        }
        Some(Rule::DestinationIp(range)) => Condition::Special(Deed::DestinationIp(
            reader.within("destination_ip", |reader| address::decode_prefix(reader, range))?,
        )),
        Some(Rule::DestinationPort(port)) => match u16::try_from(port) {
            Ok(port) => Condition::Special(Deed::DestinationPort(port..=port)),
            Err(_) => return reader.refuse_at("destination_port", format!("{port} is no port: 0 to 65535")),
        },
        Some(Rule::DestinationPortRange(range)) => match ports(&range) {
            Some(ports) => Condition::Special(Deed::DestinationPort(ports)),
            None => return reader.refuse_at("destination_port_range", "is no range of ports"),
        },
        Some(Rule::RequestedServerName(name)) => Condition::Special(Deed::ServerName(
            reader.within("requested_server_name", |reader| text::decode(reader, name))?,
        )),
        Some(Rule::Metadata(_)) => return reader.unsupported("metadata"),
        Some(Rule::Matcher(_)) => return reader.unsupported("matcher"),
        Some(Rule::UriTemplate(_)) => return reader.unsupported("uri_template"),
        Some(Rule::SourcedMetadata(_)) => return reader.unsupported("sourced_metadata"),
    })
}

/// The end is not in the range.
fn ports(range: &Int32Range) -> Option<RangeInclusive<u16>> {
    let (from, to) = (u16::try_from(range.start).ok()?, u16::try_from(range.end.checked_sub(1)?).ok()?);
    (from <= to).then_some(from..=to)
}

fn encode_principal(principal: &Principal) -> pb::Principal {
    let set = |all: &[Principal]| principal::Set { ids: all.iter().map(encode_principal).collect() };
    let identifier = match principal {
        Condition::Any => Identifier::Any(true),
        Condition::And(all) => Identifier::AndIds(set(all)),
        Condition::Or(any) => Identifier::OrIds(set(any)),
        Condition::Not(one) => Identifier::NotId(Box::new(encode_principal(one))),
        Condition::Header(header) => Identifier::Header(route_match::encode_header(header)),
        Condition::UrlPath(path) => Identifier::UrlPath(encode_path(path)),
        Condition::Special(Doer::Authenticated(name)) => {
            Identifier::Authenticated(principal::Authenticated {
                principal_name: name.as_ref().map(text::encode),
            })
        }
        Condition::Special(Doer::SourceIp(prefix)) => Identifier::SourceIp(address::encode_prefix(prefix)),
        Condition::Special(Doer::DirectRemoteIp(prefix)) => {
            Identifier::DirectRemoteIp(address::encode_prefix(prefix))
        }
    };
    pb::Principal { identifier: Some(identifier) }
}

fn decode_principal(reader: &mut Reader, principal: pb::Principal) -> Option<Principal> {
    Some(match principal.identifier {
        None => return reader.missing("identifier"),
        Some(Identifier::Any(_)) => Condition::Any,
        Some(Identifier::AndIds(set)) => {
            Condition::And(all(reader, "and_ids.ids", set.ids, decode_principal)?)
        }
        Some(Identifier::OrIds(set)) => Condition::Or(all(reader, "or_ids.ids", set.ids, decode_principal)?),
        Some(Identifier::NotId(one)) => {
            Condition::Not(Box::new(reader.within("not_id", |reader| decode_principal(reader, *one))?))
        }
        Some(Identifier::Header(header)) => {
            Condition::Header(reader.within("header", |reader| route_match::decode_header(reader, header))?)
        }
        Some(Identifier::UrlPath(path)) => {
            Condition::UrlPath(reader.within("url_path", |reader| decode_path(reader, path))?)
        }
        Some(Identifier::Authenticated(principal::Authenticated { principal_name: None })) => {
            Condition::Special(Doer::Authenticated(None))
        }
        Some(Identifier::Authenticated(principal::Authenticated { principal_name: Some(name) })) => {
            let name = reader.within("authenticated.principal_name", |reader| text::decode(reader, name))?;
            Condition::Special(Doer::Authenticated(Some(name)))
        }
        Some(Identifier::SourceIp(range)) => Condition::Special(Doer::SourceIp(
            reader.within("source_ip", |reader| address::decode_prefix(reader, range))?,
        )),
        Some(Identifier::DirectRemoteIp(range)) => Condition::Special(Doer::DirectRemoteIp(
            reader.within("direct_remote_ip", |reader| address::decode_prefix(reader, range))?,
        )),
        // What a client says of where it comes from is believed by nobody here.
        Some(Identifier::RemoteIp(_)) => return reader.unsupported("remote_ip"),
        Some(Identifier::Metadata(_)) => return reader.unsupported("metadata"),
        Some(Identifier::FilterState(_)) => return reader.unsupported("filter_state"),
        Some(Identifier::SourcedMetadata(_)) => return reader.unsupported("sourced_metadata"),
        Some(Identifier::Custom(_)) => return reader.unsupported("custom"),
    })
}

/// All or none: a condition that is left out would change what the others mean.
fn all<I, T>(
    reader: &mut Reader,
    field: &str,
    items: Vec<I>,
    read: impl FnMut(&mut Reader, I) -> Option<T>,
) -> Option<Vec<T>> {
    let expected = items.len();
    let read = reader.each(field, items, read);
    (read.len() == expected).then_some(read)
}

fn encode_path(path: &StringMatch) -> matcher::PathMatcher {
    matcher::PathMatcher { rule: Some(path_matcher::Rule::Path(text::encode(path))) }
}

fn decode_path(reader: &mut Reader, path: matcher::PathMatcher) -> Option<StringMatch> {
    match path.rule {
        Some(path_matcher::Rule::Path(path)) => reader.within("path", |reader| text::decode(reader, path)),
        None => reader.missing("path"),
    }
}
