//! The story of a connection, from being accepted to who serves it.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use tokio::net::TcpStream;
use weft_model::listener::{
    ConnectionFacts, Direction, DownstreamTls, FilterChain, Inspection, Listener, NetworkFilter, Transport,
};

use super::chain::{ChosenChain, needed_inspection};
use super::original_dst::{original_destination, unmapped};
use super::proxied;
use super::sniff::{Outcome, Sniffed, sniff};
use super::statistics::{Event, ListenerStatistics};
use crate::error::{ResponseFlag, ResponseFlags};
use crate::filters::{client_certificate, rbac};
use crate::http::downstream::Downstream;
use crate::http::serve;
use crate::io::Io;
use crate::proxy_protocol::Ends;
use crate::tcp;
use crate::telemetry::record::{ConnectionRecord, TcpRecord};
use crate::tls::{ApplicationProtocol, PeerIdentity, TlsError};
use crate::upstream::OriginalDestination;
use crate::worker::Worker;

/// A handshake that takes longer is given up; Envoy and Istio have no bound, slow clients would stay for ever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves a connection in a task of its own. A panic in it is this proxy's mistake, and stays its own.
pub(super) fn spawn(worker: &Rc<Worker>, entry: Arc<Listener>, stream: TcpStream, remote: SocketAddr) {
    let open = worker.shared.open.enter();
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        let serving = AssertUnwindSafe(serve_connection(worker.clone(), entry, stream, remote));
        if Box::pin(serving.catch_unwind()).await.is_err() {
            ListenerStatistics::add(&worker.shared.statistics.panics);
            tracing::error!(%remote, "a mistake of this proxy ended one connection: please report it");
        }
        drop(open);
    });
}

async fn serve_connection(
    worker: Rc<Worker>,
    entry: Arc<Listener>,
    mut stream: TcpStream,
    remote: SocketAddr,
) {
    // The connection is younger than an answer that waits for more data to send.
    let _ = stream.set_nodelay(true);
    let Some(destination) = destination(&worker, &entry, &stream, remote) else { return };
    let listener = listener_of(&worker, entry, destination);
    let direct = Ends { source: unmapped(remote), destination };
    let Some(Ends { source, destination }) = ends(&worker, &listener, &mut stream, direct).await else {
        return;
    };
    let Some(sniffed) = inspect(&worker, &listener, &stream, destination).await else { return };
    let mut record = ConnectionRecord {
        direction: listener.direction,
        remote: source,
        direct_remote: direct.source,
        local: destination,
        peer_identity: None,
        peer_workload: None,
        server_name: sniffed.server_name.as_deref().map(Arc::from),
    };
    let Some(chosen) = choose_chain(&listener, destination, &sniffed) else {
        return refuse(&worker, &listener, &record, sniffed.transport);
    };
    let Some(chain) = chosen.chain() else { return };
    let (io, protocol) = match terminate(&worker, chain, stream).await {
        Ok((io, protocol, peer)) => {
            record.peer_identity = peer.map(|peer| Arc::new(peer.identity().clone()));
            (io, protocol)
        }
        Err(error) => return handshake_failed(&worker, &listener, &record, &error),
    };
    if let Err(details) = rbac::let_in(&worker.shared.statistics.connection_rbac, &chain.rbac, &record) {
        io.abort();
        return closed_before_served(&worker, &record, None, &details);
    }
    match &chain.filter {
        NetworkFilter::Tcp(filter) => {
            let destination = tcp::Destination {
                clusters: &filter.clusters,
                original: Some(OriginalDestination { address: destination, is_endpoint: listener.headless }),
                provenance: &listener.provenance,
                idle_timeout: filter.idle_timeout,
                hash_source_ip: filter.hash_source_ip,
                metadata_match: Some(&filter.metadata_match),
            };
            tcp::proxy(&worker, &destination, record, io).await;
        }
        NetworkFilter::Http(http) => {
            let codec = serve::codec(http.codec, protocol, &sniffed.application_protocols);
            let scheme = if chain.tls.is_some() { "https" } else { "http" };
            let told = record.peer_identity.as_ref().filter(|_| http.forward_client_certificate);
            let told = told
                .and_then(|peer| client_certificate::element(worker.shared.own_identity().as_ref(), peer));
            let downstream = Downstream::new(worker, chosen.clone(), record, scheme, told);
            serve::connection(io, codec, Rc::new(downstream)).await;
        }
    }
}

/// Where the client wanted to go; none when that is this proxy itself.
fn destination(
    worker: &Worker,
    entry: &Listener,
    stream: &TcpStream,
    remote: SocketAddr,
) -> Option<SocketAddr> {
    let local = unmapped(stream.local_addr().ok()?);
    if !entry.use_original_dst {
        return Some(local);
    }
    let destination = original_destination(stream, local);
    if destination == local {
        if entry.direction == Direction::Inbound
            && let Some(meant) = worker.shared.upstream.own_calls.destination(remote)
        {
            return Some(meant);
        }
        // Passing it on would bring it here again, without end.
        let count = worker.shared.statistics.count(Event::Loop, destination.port());
        if count.is_power_of_two() {
            tracing::warn!(%remote, %destination, listener = &*entry.name, "closed a connection that was sent to the proxy's own port (number {count})");
        }
        return None;
    }
    Some(destination)
}

/// The listener at the destination's address, or the one that took the connection.
fn listener_of(worker: &Worker, entry: Arc<Listener>, destination: SocketAddr) -> Arc<Listener> {
    if !entry.use_original_dst {
        return entry;
    }
    let snapshot = worker.snapshot();
    match snapshot.listener_for(destination) {
        Some(listener) if listener.direction == entry.direction => listener.clone(),
        _ => entry,
    }
}

/// Whose connection it is, where a load balancer says that; none when it is closed.
async fn ends(worker: &Worker, listener: &Listener, stream: &mut TcpStream, direct: Ends) -> Option<Ends> {
    let Inspection { proxy_protocol: Some(presence), timeout, .. } = listener.inspection else {
        return Some(direct);
    };
    match Box::pin(proxied::take(stream, presence, timeout)).await {
        Ok(Some(told)) => {
            Some(Ends { source: unmapped(told.source), destination: unmapped(told.destination) })
        }
        Ok(None) => Some(direct),
        Err(why) => {
            let count = worker.shared.statistics.count(Event::ProxyProtocol, direct.destination.port());
            if count.is_power_of_two() {
                tracing::warn!(client = %direct.source, listener = &*listener.name, "closed a connection: {why} (number {count} at port {})", direct.destination.port());
            }
            None
        }
    }
}

async fn inspect(
    worker: &Worker,
    listener: &Listener,
    stream: &TcpStream,
    destination: SocketAddr,
) -> Option<Sniffed> {
    let sniffed = sniff(stream, needed_inspection(listener, destination)).await.ok()?;
    if sniffed.outcome == Outcome::TimedOut {
        let port = destination.port();
        if worker.shared.statistics.count(Event::SniffTimeout, port) == 1 {
            tracing::warn!(
                "clients of port {port} ({destination}) are silent at first, so each waited {:?} until the protocol was \
                 taken for TCP; if the server speaks first there, declare it: `appProtocol: tcp` or a port name that \
                 begins with `tcp-`",
                listener.inspection.timeout
            );
        }
    }
    Some(sniffed)
}

fn choose_chain(listener: &Arc<Listener>, destination: SocketAddr, sniffed: &Sniffed) -> Option<ChosenChain> {
    let protocols: Vec<&str> = sniffed.application_protocols.iter().map(String::as_str).collect();
    let facts = ConnectionFacts {
        destination,
        transport: sniffed.transport,
        application_protocols: &protocols,
        server_name: sniffed.server_name.as_deref(),
    };
    ChosenChain::choose(listener, &facts)
}

/// No chain serves it: closed without a word, as Istio does, but never silently.
fn refuse(worker: &Worker, listener: &Listener, record: &ConnectionRecord, transport: Transport) {
    let port = record.local.port();
    let count = worker.shared.statistics.count(Event::Refused, port);
    let why = match transport {
        Transport::Raw => {
            "in plain text: mutual TLS is required there (PeerAuthentication STRICT), or nothing is served"
        }
        Transport::Tls => "with TLS that is not the mesh's: only the mesh's mutual TLS is served there",
    };
    // A client that tries again and again must not fill the log.
    if count.is_power_of_two() {
        let sources: Vec<String> = listener.provenance.iter().map(ToString::to_string).collect();
        tracing::warn!(
            client = %record.remote, listener = &*listener.name, from = sources.join(", "),
            "refused a connection to {} {why} (number {count} at this port)", record.local
        );
    }
    closed_before_served(worker, record, Some(ResponseFlag::NoRouteFound), "");
}

fn handshake_failed(worker: &Worker, listener: &Listener, record: &ConnectionRecord, error: &str) {
    let count = worker.shared.statistics.count(Event::HandshakeFailed, record.local.port());
    if count.is_power_of_two() {
        tracing::warn!(client = %record.remote, listener = &*listener.name, "the TLS handshake failed: {error} (number {count} at port {})", record.local.port());
    }
    closed_before_served(worker, record, Some(ResponseFlag::DownstreamProtocolError), "");
}

fn closed_before_served(
    worker: &Worker,
    record: &ConnectionRecord,
    flag: Option<ResponseFlag>,
    details: &str,
) {
    let mut flags = ResponseFlags::default();
    flag.into_iter().for_each(|flag| flags.insert(flag));
    worker.recorder.tcp(&TcpRecord {
        connection: record,
        started_at: SystemTime::now(),
        duration: Duration::ZERO,
        closed: true,
        bytes_received: 0,
        bytes_sent: 0,
        flags,
        details,
        upstream: None,
    });
}

/// Makes the TLS handshake where the chain asks for one.
async fn terminate(
    worker: &Worker,
    chain: &FilterChain,
    stream: TcpStream,
) -> Result<(Io, Option<ApplicationProtocol>, Option<PeerIdentity>), String> {
    let context = match &chain.tls {
        None => return Ok((stream.into(), None, None)),
        Some(DownstreamTls::Context(context)) => Some(context),
        Some(DownstreamTls::Mesh(_)) => None,
    };
    if let Some(context) = context {
        let accepting = worker.shared.contexts.accept(context, stream);
        return match tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(accepting)).await {
            Ok(Ok(accepted)) => Ok((accepted.stream.into(), accepted.protocol, accepted.peer)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it was not done after {HANDSHAKE_TIMEOUT:?}")),
        };
    }
    let Some(acceptor) = &worker.shared.acceptor else {
        return Err("this proxy has no identity, so it cannot terminate mutual TLS".to_owned());
    };
    let started = Instant::now();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(accepted)) => Ok((accepted.stream.into(), accepted.protocol, Some(accepted.peer))),
        Ok(Err(error)) => Err(TlsError::to_string(&error)),
        Err(_) => Err(format!("it was not done after {:?}", started.elapsed())),
    }
}
