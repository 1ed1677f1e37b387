use http::HeaderMap;

use super::*;
use crate::matcher::StringPattern;

fn facts<'a>(path: &'a str, headers: &'a HeaderMap, peer: Option<&'a str>) -> RbacFacts<'a> {
    let request = RequestFacts {
        method: "GET",
        scheme: "http",
        authority: "a",
        path_and_query: path,
        headers,
        random: 0,
    };
    RbacFacts {
        request: Some(request),
        source: "10.1.2.3:4000".parse().unwrap(),
        direct_remote: "10.1.2.3:4000".parse().unwrap(),
        destination: "10.0.0.1:8080".parse().unwrap(),
        peer,
        server_name: "",
    }
}

fn rules(action: RbacAction, permission: Permission, principal: Principal) -> Rules {
    let policy = Policy { name: "p".into(), permissions: vec![permission], principals: vec![principal] };
    Rules { action, policies: vec![policy] }
}

fn prefix(text: &str) -> StringMatch {
    StringMatch { pattern: StringPattern::Prefix(text.into()), ignore_case: false }
}

#[test]
fn a_path_is_allowed_to_a_proven_identity_only() {
    let headers = HeaderMap::new();
    let who = Condition::Special(Doer::Authenticated(Some(StringMatch::exact("spiffe://td/ns/a/sa/web"))));
    let rules = rules(RbacAction::Allow, Condition::UrlPath(prefix("/api/")), who);
    let allowed = |path, peer| rules.decide(&facts(path, &headers, peer)).0;
    assert!(allowed("/api/x?y", Some("spiffe://td/ns/a/sa/web")));
    assert!(!allowed("/other", Some("spiffe://td/ns/a/sa/web")));
    assert!(!allowed("/api/x", Some("spiffe://td/ns/a/sa/other")) && !allowed("/api/x", None));
}

#[test]
fn conditions_are_joined_and_inverted() {
    let headers = HeaderMap::new();
    let address = |text: &str, length| IpPrefix { address: text.parse().unwrap(), length };
    let near: Principal = Condition::Special(Doer::SourceIp(address("10.1.0.0", 16)));
    let port = Condition::Special(Deed::DestinationPort(8000..=8100));
    let to = Condition::Special(Deed::DestinationIp(address("10.0.0.0", 24)));
    let deny = rules(
        RbacAction::Deny,
        Condition::And(vec![port.clone(), to]),
        Condition::Not(Box::new(Condition::Or(vec![near.clone()]))),
    );
    assert!(deny.decide(&facts("/", &headers, None)).0, "the client is near");
    let deny = rules(RbacAction::Deny, port, near);
    assert_eq!(deny.decide(&facts("/", &headers, None)), (false, Some(&"p".into())));
}

#[test]
fn a_condition_on_a_request_never_holds_for_a_connection() {
    let headers = HeaderMap::new();
    let connection = RbacFacts { request: None, ..facts("/", &headers, None) };
    let rules = rules(RbacAction::Allow, Condition::UrlPath(prefix("/")), Condition::Any);
    assert!(!rules.decide(&connection).0);
}
