//! Where connections are taken, and which filter chain serves one. In xDS: `Listener`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::filter::HttpFilter;
use crate::filter::rbac::Rbac;
use crate::provenance::Provenance;
use crate::route::{RouteTable, WeightedCluster};
use crate::subset::LbMetadata;
use crate::tls::ServerContext;

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;

/// Which way traffic goes, seen from the workload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// A place where connections are taken.
#[derive(Clone, PartialEq, Debug)]
pub struct Listener {
    /// Unique.
    pub name: Arc<str>,
    /// Bound, or, when `bind` is false, compared with a connection's original destination.
    pub addresses: Vec<SocketAddr>,
    /// Whether a socket is bound; if not, a listener with `use_original_dst` hands connections over.
    pub bind: bool,
    /// Connections go to the listener whose address is their original destination; the rest stay here.
    pub use_original_dst: bool,
    /// Its addresses are those of endpoints, not virtual ones: a headless service. What it serves goes to the endpoint
    /// that the client chose, or nowhere.
    pub headless: bool,
    /// Which way its traffic goes.
    pub direction: Direction,
    /// What is looked at before a filter chain is chosen.
    pub inspection: Inspection,
    /// The most specific that matches is taken.
    pub filter_chains: Vec<FilterChain>,
    /// Taken when none matches; without it the connection is closed.
    pub default_filter_chain: Option<FilterChain>,
    /// What the user wrote that shaped it.
    pub provenance: Vec<Provenance>,
}

/// What is looked at before a filter chain is chosen. Reading ahead breaks protocols in which the server speaks
/// first, so a declared protocol asks for none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Inspection {
    /// Take a header of the PROXY protocol off the connection, and its word for whose connection it is; none: do not.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Look for a TLS ClientHello (server name and application protocols).
    pub tls: bool,
    /// Look for an HTTP/1 request line or the HTTP/2 preface.
    pub http: bool,
    /// Wait so long for the client to speak, then go on with what is known. Zero: wait until it speaks.
    pub timeout: Duration,
}

/// Whether a connection begins with a header of the PROXY protocol, of either version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocol {
    /// One that does not is closed.
    Required,
    /// One that does not is its sender's own. Only where all senders are trusted: any may claim to be anybody.
    Allowed,
}

/// How a connection is served.
#[derive(Clone, PartialEq, Debug)]
pub struct FilterChain {
    /// For people and logs.
    pub name: Arc<str>,
    /// Which connections.
    pub matches: FilterChainMatch,
    /// None: plain text.
    pub tls: Option<DownstreamTls>,
    /// All of these must allow it, once it is known who calls.
    pub rbac: Vec<Rbac>,
    /// Who serves it.
    pub filter: NetworkFilter,
}

impl FilterChain {
    /// One that serves whoever it matches.
    #[must_use]
    pub fn new(
        name: &str,
        matches: FilterChainMatch,
        tls: Option<DownstreamTls>,
        filter: NetworkFilter,
    ) -> Self {
        Self { name: name.into(), matches, tls, rbac: Vec::new(), filter }
    }
}

/// A connection must fulfil all of it; an empty list or none asks nothing.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct FilterChainMatch {
    /// Port of the original destination.
    pub destination_port: Option<u16>,
    /// Prefixes of the original destination's address.
    pub destination_prefixes: Vec<IpPrefix>,
    /// Whether the client speaks TLS.
    pub transport: Option<Transport>,
    /// One of the client's: ALPN, or what sniffing found (`http/1.0`, `http/1.1`, `h2c`).
    pub application_protocols: Vec<Arc<str>>,
    /// One of the server names, exact or `*.suffix`.
    pub server_names: Vec<Arc<str>>,
}

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPrefix {
    /// Its first address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub length: u8,
}

impl IpPrefix {
    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.length));
                u32::from(a).checked_shr(shift).unwrap_or(0) == u32::from(b).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.length));
                u128::from(a).checked_shr(shift).unwrap_or(0) == u128::from(b).checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

/// What a client speaks below the application's protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// No TLS.
    Raw,
    /// TLS.
    Tls,
}

/// How TLS is terminated.
#[derive(Clone, PartialEq, Debug)]
pub enum DownstreamTls {
    /// With the workload's own certificate.
    Mesh(MeshTls),
    /// With certificates that the user gives.
    Context(Arc<ServerContext>),
}

/// Terminates mutual TLS with the workload's certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeshTls {
    /// Refuse clients without a certificate of the trust domain.
    pub require_client_certificate: bool,
    /// Offered to the client, the preferred first.
    pub application_protocols: Vec<Arc<str>>,
}

/// Who serves a connection.
#[derive(Clone, PartialEq, Debug)]
pub enum NetworkFilter {
    /// Request by request.
    Http(HttpConnection),
    /// Byte by byte.
    Tcp(TcpProxy),
}

/// How HTTP is served.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpConnection {
    /// First part of statistics' names.
    pub stat_prefix: Arc<str>,
    /// Which HTTP the client speaks.
    pub codec: Codec,
    /// Where requests go.
    pub routes: RouteSource,
    /// Tell the workload who called, in `x-forwarded-client-cert`; a value sent by the client is removed.
    pub forward_client_certificate: bool,
    /// Bound on the silence within a stream; none: no bound.
    pub stream_idle_timeout: Option<Duration>,
    /// Tokens of `Upgrade` that are let through, such as `websocket`.
    pub upgrades: Vec<Arc<str>>,
    /// Serve absolute-form requests and CONNECT to any destination of the routes, as a forward proxy (explicit mode).
    pub forward_proxy: bool,
    /// What requests pass through, in this order, before they are sent on; responses in the other.
    pub filters: Arc<[HttpFilter]>,
}

/// Which HTTP a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// Found by ALPN or by the connection's first bytes.
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where a listener's routes come from.
#[derive(Clone, PartialEq, Debug)]
pub enum RouteSource {
    /// RDS, by this name.
    Named(Arc<str>),
    /// The listener itself.
    Inline(Arc<RouteTable>),
}

/// Passes bytes on.
#[derive(Clone, PartialEq, Debug)]
pub struct TcpProxy {
    /// First part of statistics' names.
    pub stat_prefix: Arc<str>,
    /// Where to; one is drawn by weight. Not empty.
    pub clusters: Vec<WeightedCluster>,
    /// A connection without a byte for so long is closed; none: never.
    pub idle_timeout: Option<Duration>,
    /// A connection's hash, for clusters that choose by it, is that of the client's address; else it has none.
    pub hash_source_ip: bool,
    /// What endpoints must have, in clusters with subsets.
    pub metadata_match: LbMetadata,
}

/// What is known of a connection when its filter chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// Where the client wanted to go.
    pub destination: SocketAddr,
    /// What it speaks below the application's protocol.
    pub transport: Transport,
    /// Its ALPN offers, or what sniffing found; empty when nothing is known.
    pub application_protocols: &'a [&'a str],
    /// Server name indication.
    pub server_name: Option<&'a str>,
}

impl Listener {
    /// The filter chain for a connection. Criteria are compared in Envoy's order, each narrowing what is left to the
    /// most specific that match: port, address, server name, transport, application protocol
    /// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto>,
    /// `FilterChainMatch`).
    #[must_use]
    pub fn filter_chain(&self, connection: &ConnectionFacts<'_>) -> Option<&FilterChain> {
        let mut left: Vec<&FilterChain> = self.filter_chains.iter().collect();
        for criterion in [port, address, server_name, transport, application_protocol] {
            let best = left.iter().filter_map(|chain| criterion(&chain.matches, connection)).max()?;
            left.retain(|chain| criterion(&chain.matches, connection) == Some(best));
        }
        left.first().copied()
    }

    /// As [`Listener::filter_chain`], else the default one.
    #[must_use]
    pub fn serving_chain(&self, connection: &ConnectionFacts<'_>) -> Option<&FilterChain> {
        self.filter_chain(connection).or(self.default_filter_chain.as_ref())
    }
}

// Each criterion says how specifically a chain matches: none if it does not, 0 if it asks nothing.

fn port(matches: &FilterChainMatch, connection: &ConnectionFacts<'_>) -> Option<usize> {
    match matches.destination_port {
        None => Some(0),
        Some(port) => (port == connection.destination.port()).then_some(1),
    }
}

fn address(matches: &FilterChainMatch, connection: &ConnectionFacts<'_>) -> Option<usize> {
    if matches.destination_prefixes.is_empty() {
        return Some(0);
    }
    let address = connection.destination.ip();
    let covering = matches.destination_prefixes.iter().filter(|prefix| prefix.contains(address));
    covering.map(|prefix| usize::from(prefix.length) + 1).max()
}

fn server_name(matches: &FilterChainMatch, connection: &ConnectionFacts<'_>) -> Option<usize> {
    if matches.server_names.is_empty() {
        return Some(0);
    }
    let name = connection.server_name?;
    let specific = |pattern: &Arc<str>| match pattern.strip_prefix('*') {
        Some(suffix) => (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len()),
        None => (**pattern == *name).then_some(usize::MAX),
    };
    matches.server_names.iter().filter_map(specific).max()
}

fn transport(matches: &FilterChainMatch, connection: &ConnectionFacts<'_>) -> Option<usize> {
    match matches.transport {
        None => Some(0),
        Some(transport) => (transport == connection.transport).then_some(1),
    }
}

fn application_protocol(matches: &FilterChainMatch, connection: &ConnectionFacts<'_>) -> Option<usize> {
    if matches.application_protocols.is_empty() {
        return Some(0);
    }
    let offered = |protocol: &Arc<str>| connection.application_protocols.contains(&&**protocol);
    matches.application_protocols.iter().any(offered).then_some(1)
}
