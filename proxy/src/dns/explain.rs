//! How a name would be answered, and from what: for people whose application resolves to something unexpected.
//!
//! The steps are those of a C library's resolver with the `resolv.conf` of a workload (`ndots:5`, the search domains):
//! what it asks one after the other until something has an address. Each is judged by the code that answers queries, and
//! what is forwarded really is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};
use weft_model::listener::Direction;
use weft_model::snapshot::Snapshot;

use super::answer::{Known, look_up};
use super::{DnsSettings, Over, forward};

/// Explains a name.
pub type Explain = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Value> + Send>> + Send + Sync>;

/// Names with so many dots are asked as they are before they are completed: what Kubernetes and `weft run` write into
/// `resolv.conf`.
const NDOTS: usize = 5;

/// The steps, and the addresses that the last of them gave.
pub(super) async fn explain(name: &str, snapshot: &Snapshot, settings: &DnsSettings) -> Value {
    let mut steps = Vec::new();
    let mut found = Vec::new();
    for (asked, completed_by) in candidates(name, settings) {
        let (mut step, addresses) = step(&asked, snapshot, settings).await;
        step["asked"] = asked.into();
        step["completedBy"] = completed_by.into();
        steps.push(step);
        if !addresses.is_empty() {
            found = addresses;
            break;
        }
    }
    json!({ "name": name, "addresses": found, "steps": steps })
}

/// What a client asks for a name, in order, and the search domain that completed it.
fn candidates(name: &str, settings: &DnsSettings) -> Vec<(String, Option<String>)> {
    let whole = (name.trim_end_matches('.').to_owned(), None);
    if name.ends_with('.') {
        return vec![whole];
    }
    let completed =
        settings.search.iter().map(|domain| (format!("{name}.{domain}"), Some(domain.to_owned())));
    let mut all: Vec<_> = completed.collect();
    let first = name.matches('.').count() >= NDOTS;
    all.insert(if first { 0 } else { all.len() }, whole);
    all
}

async fn step(asked: &str, snapshot: &Snapshot, settings: &DnsSettings) -> (Value, Vec<IpAddr>) {
    match look_up(asked, snapshot, settings) {
        Known::Name { full, addresses } => {
            let all = snapshot.names.get(full.as_str()).map_or(&[][..], Vec::as_slice);
            let unready: Vec<&IpAddr> = all.iter().filter(|address| !addresses.contains(address)).collect();
            let step = json!({
                "verdict": "mesh",
                "code": "NOERROR",
                "name": full,
                "addresses": addresses,
                "unready": unready,
                "objects": objects_at(all, snapshot),
            });
            (step, addresses)
        }
        Known::Above => (json!({ "verdict": "mesh", "code": "NOERROR", "addresses": [] }), Vec::new()),
        Known::Nobody => (
            json!({ "verdict": "own-domain", "code": "NXDOMAIN", "domain": settings.own_domain }),
            Vec::new(),
        ),
        Known::Elsewhere => forwarded(asked, settings).await,
    }
}

/// The objects whose listeners are at one of the addresses.
fn objects_at(addresses: &[IpAddr], snapshot: &Snapshot) -> BTreeSet<String> {
    let listeners = snapshot.listeners.values().filter(|listener| {
        listener.direction == Direction::Outbound
            && listener.addresses.iter().any(|address| addresses.contains(&address.ip()))
    });
    listeners.flat_map(|listener| &listener.provenance).map(|rule| rule.object.to_string()).collect()
}

/// Asks for both families, as clients do.
async fn forwarded(asked: &str, settings: &DnsSettings) -> (Value, Vec<IpAddr>) {
    let mut addresses = Vec::new();
    let mut code = ResponseCode::ServFail;
    let mut by: Option<String> = None;
    for kind in [RecordType::A, RecordType::AAAA] {
        let Some(query) = query(asked, kind) else { break };
        let Some((answer, upstream)) = forward::forward(&query, Over::Udp, settings).await else { break };
        let Ok(answer) = Message::from_vec(&answer) else { continue };
        (code, by) = (answer.metadata.response_code, Some(upstream.to_string()));
        addresses.extend(answer.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        }));
    }
    let code = match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        other => other.to_string(),
    };
    let step = json!({
        "verdict": "forwarded",
        "code": code,
        "resolver": by,
        "resolvers": resolvers(settings),
        "addresses": addresses,
    });
    (step, addresses)
}

/// Who is asked for names that are not of the mesh, for people.
fn resolvers(settings: &DnsSettings) -> Vec<String> {
    if settings.upstreams.is_empty() && settings.egress.is_some() {
        return vec!["those of the machine".to_owned()];
    }
    settings.upstreams.iter().map(ToString::to_string).collect()
}

/// None of what is no name.
fn query(name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    let mut query = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, kind));
    query.to_vec().ok()
}
