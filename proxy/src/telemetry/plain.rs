//! Who called without mutual TLS: what a user has to know before a policy makes it a must.

use std::net::{IpAddr, Ipv4Addr};

use weft_model::listener::Direction;
use weft_proto::telemetry::PlaintextPeer;

use super::record::{ConnectionRecord, UpstreamRecord};

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;

/// Callers of an edge that are told apart between two reports; addresses are cheap for whoever wants to fill a table.
const PEERS: usize = 64;

/// Calls without mutual TLS of one edge, by caller and port of the workload.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct PlainPeers {
    peers: Vec<Peer>,
    /// Of callers beyond [`PEERS`].
    others: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Peer {
    address: IpAddr,
    port: u16,
    calls: u64,
}

impl PlainPeers {
    /// Counts calls that came in, if they came without mutual TLS.
    pub(super) fn record(
        &mut self,
        connection: &ConnectionRecord,
        upstream: Option<&UpstreamRecord>,
        calls: u64,
    ) {
        if connection.direction == Direction::Outbound || connection.peer_identity.is_some() || calls == 0 {
            return;
        }
        // In explicit mode the client connects to a port of the sidecar.
        let port = upstream.map_or(connection.local.port(), |upstream| upstream.address.port());
        let address = connection.remote.ip().to_canonical();
        self.count(Peer { address, port, calls });
    }

    fn count(&mut self, peer: Peer) {
        let same = |known: &Peer| known.address == peer.address && known.port == peer.port;
        match self.peers.iter().position(same) {
            Some(place) => self.peers[place].calls = self.peers[place].calls.saturating_add(peer.calls),
            None if self.peers.len() < PEERS => self.peers.push(peer),
            None => self.others = self.others.saturating_add(peer.calls),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.peers.iter().for_each(|peer| self.count(*peer));
        self.others = self.others.saturating_add(other.others);
    }

    /// For the report.
    pub(super) fn into_peers(self) -> impl Iterator<Item = PlaintextPeer> {
        let told = |peer: Peer| PlaintextPeer {
            address: peer.address.to_string(),
            port: u32::from(peer.port),
            count: peer.calls,
        };
        let others = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0, calls: self.others };
        let others = (self.others > 0).then(|| PlaintextPeer { address: String::new(), ..told(others) });
        self.peers.into_iter().map(told).chain(others)
    }
}
