//! What the mesh itself knows of a query.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use weft_model::snapshot::Snapshot;

use super::Over;

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

    pub(super) fn no_such_name(self) -> Option<Vec<u8>> {
        self.with(ResponseCode::NXDomain)
    }

    fn with(self, code: ResponseCode) -> Option<Vec<u8>> {
        response(&self.0, code).to_vec().ok()
    }
}

/// Judges the bytes of a query.
pub(super) fn judge(query: &[u8], over: Over, snapshot: &Snapshot, search: &SearchDomains) -> Verdict {
    let Ok(message) = Message::from_vec(query) else { return malformed(query) };
    if message.metadata.message_type != MessageType::Query {
        return Verdict::Ignore;
    }
    let [question] = &message.queries[..] else { return Verdict::Forward(Question(message)) };
    let is_plain = message.metadata.op_code == OpCode::Query && question.query_class() == DNSClass::IN;
    let name = question.name().to_ascii();
    let Some(addresses) = is_plain.then(|| find(&name, snapshot, search)).flatten() else {
        return Verdict::Forward(Question(message));
    };
    let mut answer = response(&message, ResponseCode::NoError);
    answer.metadata.authoritative = true;
    for data in addresses.iter().filter_map(|address| data(*address, question.query_type())) {
        answer.add_answer(Record::from_rdata(question.name().clone(), TTL_SECONDS, data));
    }
    match fitting(answer, &message, over) {
        Some(bytes) => Verdict::Answer(bytes),
        None => Verdict::Forward(Question(message)),
    }
}

/// Addresses of a name of the mesh: as it is, or completed. With a trailing dot it is never completed by us either:
/// clients strip the dot before they ask.
fn find<'a>(name: &str, snapshot: &'a Snapshot, search: &SearchDomains) -> Option<&'a Vec<IpAddr>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let names = &snapshot.names;
    names
        .get(name.as_str())
        .or_else(|| search.0.iter().find_map(|domain| names.get(format!("{name}.{domain}").as_str())))
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
