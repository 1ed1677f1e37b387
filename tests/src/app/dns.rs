//! A name server with a handful of names: the one that a mesh's sidecars forward to. It writes down what it is asked.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What a UDP client takes (RFC 1035): no more is sent here, whatever it says.
const MOST: usize = 512;

/// `NAME=ADDRESS`; several of one name are all answered.
#[derive(Clone, Debug)]
pub struct KnownName {
    name: String,
    address: IpAddr,
}

impl FromStr for KnownName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.split_once('=').ok_or("write it as NAME=ADDRESS")?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { name: name.to_ascii_lowercase(), address })
    }
}

/// All names, in lower case and without the last point.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    pub(super) fn of(known: &[KnownName]) -> Arc<Self> {
        let mut names: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for one in known {
            names.entry(one.name.clone()).or_default().push(one.address);
        }
        Arc::new(Self(names))
    }

    fn answer(&self, query: &[u8], most: usize) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?;
        println!("asked {} {}", question.name(), question.query_type());
        let name = question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.queries = query.queries.clone();
        match self.0.get(&name) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(addresses) => {
                for data in addresses.iter().filter_map(|it| data(*it, question.query_type())) {
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
                }
            }
        }
        let whole = answer.to_vec().ok()?;
        if whole.len() <= most {
            return Some(whole);
        }
        answer.answers.clear();
        answer.metadata.truncation = true;
        answer.to_vec().ok()
    }
}

fn data(address: IpAddr, wanted: RecordType) -> Option<RData> {
    match (address, wanted) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    }
}

/// Answers until the process ends, over UDP and TCP.
pub(super) async fn serve(tcp: TcpListener, names: Arc<Names>) -> io::Result<()> {
    let udp = UdpSocket::bind(tcp.local_addr()?).await?;
    let over_tcp = names.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            tokio::spawn(connection(stream, over_tcp.clone()));
        }
    });
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, client) = udp.recv_from(&mut buffer).await?;
        if let Some(answer) = names.answer(&buffer[..length], MOST) {
            udp.send_to(&answer, client).await?;
        }
    }
}

async fn connection(mut stream: TcpStream, names: Arc<Names>) -> io::Result<()> {
    loop {
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        let answer = names.answer(&query, usize::from(u16::MAX)).unwrap_or_default();
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
}
