//! What the mesh itself knows of a query.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use weft_model::snapshot::Snapshot;

use super::{DnsSettings, Over};

/// Istio's: addresses of services change rarely, and a change must be seen soon.
const TTL_SECONDS: u32 = 30;
/// What a UDP client takes when it does not say otherwise (RFC 1035).
const SMALLEST_PAYLOAD: usize = 512;
/// What we take and send at most over UDP (what DNS flag day 2020 recommends).
const PAYLOAD: u16 = 1232;

/// What short names are completed with, such as `default.svc.cluster.local`, `svc.cluster.local` and `cluster.local`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SearchDomains(Vec<String>);

impl SearchDomains {
    /// Those of a workload's DNS domain.
    #[must_use]
    pub fn of(domain: &str) -> Self {
        let mut rest = domain.trim_matches('.').to_ascii_lowercase();
        let mut domains = Vec::new();
        while rest.contains('.') {
            domains.push(rest.clone());
            rest = rest.split_once('.').map(|(_, parent)| parent.to_owned()).unwrap_or_default();
        }
        Self(domains)
    }
}

impl SearchDomains {
    /// In the order that they are tried in.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What the mesh knows of a name.
#[derive(Debug)]
pub(super) enum Known {
    /// It is the mesh's: under which name, and where it leads now. Nowhere when all of a headless service's workloads
    /// take no requests.
    Name { full: String, addresses: Vec<IpAddr> },
    /// There are names of the mesh below it, and nothing else: not "no such name", which would deny those, too
    /// (RFC 8020).
    Above,
    /// It is nobody's: the mesh knows all names of its domain.
    Nobody,
    /// Others know.
    Elsewhere,
}

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The mesh answers.
    Answer(Vec<u8>),
    /// Others know.
    Forward(Question),
    /// It is no query.
    Ignore,
}

/// A query, to be answered with nothing but a code.
#[derive(Debug)]
pub(super) struct Question(Message);

impl Question {
    pub(super) fn failure(self) -> Option<Vec<u8>> {
        self.with(ResponseCode::ServFail)
    }

    fn with(self, code: ResponseCode) -> Option<Vec<u8>> {
        response(&self.0, code).to_vec().ok()
    }
}

/// Judges the bytes of a query.
pub(super) fn judge(query: &[u8], over: Over, snapshot: &Snapshot, settings: &DnsSettings) -> Verdict {
    let Ok(message) = Message::from_vec(query) else { return malformed(query) };
    if message.metadata.message_type != MessageType::Query {
        return Verdict::Ignore;
    }
    let [question] = &message.queries[..] else { return Verdict::Forward(Question(message)) };
    let is_plain = message.metadata.op_code == OpCode::Query && question.query_class() == DNSClass::IN;
    let name = question.name().to_ascii();
    let known = if is_plain { look_up(&name, snapshot, settings) } else { Known::Elsewhere };
    let (code, addresses) = match known {
        Known::Name { addresses, .. } => (ResponseCode::NoError, addresses),
        Known::Above => (ResponseCode::NoError, Vec::new()),
        Known::Nobody => (ResponseCode::NXDomain, Vec::new()),
        Known::Elsewhere => return Verdict::Forward(Question(message)),
    };
    let mut answer = response(&message, code);
    answer.metadata.authoritative = true;
    for data in addresses.iter().filter_map(|address| data(*address, question.query_type())) {
        answer.add_answer(Record::from_rdata(question.name().clone(), TTL_SECONDS, data));
    }
    match fitting(answer, &message, over) {
        Some(bytes) => Verdict::Answer(bytes),
        None => Verdict::Forward(Question(message)),
    }
}

/// Whose a name is: as it is, or completed. With a trailing dot it is never completed by us either: clients strip the dot
/// before they ask.
pub(super) fn look_up(name: &str, snapshot: &Snapshot, settings: &DnsSettings) -> Known {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let names = &snapshot.names;
    let completed = settings.search.iter().map(|domain| format!("{name}.{domain}"));
    for full in std::iter::once(name.clone()).chain(completed) {
        if let Some(all) = names.get(full.as_str()) {
            let ready = all.iter().copied().filter(|address| !snapshot.is_unready(*address));
            return Known::Name { addresses: ready.collect(), full };
        }
    }
    let is_below = |name: &str, domain: &str| name.strip_suffix(domain).is_some_and(|it| it.ends_with('.'));
    match &settings.own_domain {
        Some(own) if name == *own || is_below(&name, own) => {
            let is_above = names.keys().any(|other| is_below(other, &name));
            if is_above { Known::Above } else { Known::Nobody }
        }
        _ => Known::Elsewhere,
    }
}

fn data(address: IpAddr, wanted: RecordType) -> Option<RData> {
    match address {
        IpAddr::V4(address) if matches!(wanted, RecordType::A | RecordType::ANY) => {
            Some(RData::A(A(address)))
        }
        IpAddr::V6(address) if matches!(wanted, RecordType::AAAA | RecordType::ANY) => {
            Some(RData::AAAA(AAAA(address)))
        }
        _ => None,
    }
}

fn response(query: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries = query.queries.clone();
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        response.set_edns(edns);
    }
    response
}

/// The bytes; cut, and marked so, when a UDP client could not take them.
fn fitting(answer: Message, query: &Message, over: Over) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    let most = match &query.edns {
        Some(edns) => usize::from(edns.max_payload().clamp(512, PAYLOAD)),
        None => SMALLEST_PAYLOAD,
    };
    if over == Over::Tcp || bytes.len() <= most {
        return Some(bytes);
    }
    let mut cut = response(query, ResponseCode::NoError);
    cut.metadata.truncation = true;
    cut.to_vec().ok()
}

/// FORMERR for what has at least an id and says that it is a query.
fn malformed(query: &[u8]) -> Verdict {
    match query {
        [high, low, flags, _, ..] if query.len() >= 12 && flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            let answer = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            answer.to_vec().map_or(Verdict::Ignore, Verdict::Answer)
        }
        _ => Verdict::Ignore,
    }
}
