//! Makes connections: TCP, and mutual TLS on top.

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use weft_model::cluster::{UpstreamTls, UpstreamTransport};
use weft_model::endpoint::Endpoint;
use weft_model::identity::WorkloadIdentity;
use weft_model::tls::ClientContext;

use super::failure::{AttemptFailure, FailureKind};
use crate::egress::Egress;
use crate::identity::{Identity, WorkloadCertificate};
use crate::io::Io;
use crate::own_calls::{Announced, OwnCalls};
use crate::tls::{ApplicationProtocol, ClientConnector, ExpectedIdentities, TlsContexts, server_name};

/// What the connections of a worker have in common.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    /// Tells interception to let them pass.
    pub(crate) mark: Option<u32>,
    /// The workload's own addresses.
    pub(crate) own: Vec<IpAddr>,
    /// Tells the inbound side of calls to them.
    pub(crate) own_calls: OwnCalls,
    /// The inbound side's port; none: nothing is redirected to it.
    pub(crate) inbound: Cell<Option<u16>>,
    /// Local address.
    pub(crate) source: Option<IpAddr>,
    /// Whose certificate is presented.
    pub(crate) identity: Option<Identity>,
    /// The way to addresses that the mesh's network does not lead to.
    pub(crate) egress: Option<Egress>,
    /// TLS with certificates of the user's own.
    pub(crate) contexts: Arc<TlsContexts>,
}

/// How TLS is spoken to the endpoints of one cluster: a connector for each protocol inside, made when first needed.
#[derive(Debug, Default)]
pub(crate) struct ClusterTls {
    connectors: [OnceCell<ClientConnector>; 3],
}

/// A new connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    /// Over mutual TLS: who answered.
    pub(crate) peer: Option<Arc<WorkloadIdentity>>,
    /// What was presented.
    pub(crate) certificate: Option<Arc<WorkloadCertificate>>,
}

/// No connection could be made.
#[derive(Clone, Debug)]
pub(crate) enum ConnectError {
    /// Not in time.
    Timeout,
    /// Why, in one sentence.
    Failed(Arc<str>),
}

impl From<ConnectError> for AttemptFailure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Timeout => Self::unprocessed(FailureKind::ConnectTimeout, ""),
            ConnectError::Failed(cause) => Self::unprocessed(FailureKind::Connect, &*cause),
        }
    }
}

impl ConnectError {
    fn failed(cause: impl ToString) -> Self {
        Self::Failed(cause.to_string().into())
    }
}

/// How TLS is spoken to an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TlsTo<'a> {
    /// The mesh's mutual TLS.
    Mesh(&'a UpstreamTls),
    /// With certificates of the user's own.
    Context(&'a Arc<ClientContext>),
}

/// Settings of TLS to an endpoint; none when it is spoken to in plain text.
pub(crate) fn tls_to<'a>(transport: &'a UpstreamTransport, endpoint: &Endpoint) -> Option<TlsTo<'a>> {
    match transport {
        UpstreamTransport::Plain => None,
        UpstreamTransport::ByEndpoint(tls) => endpoint.mutual_tls.then_some(TlsTo::Mesh(tls)),
        UpstreamTransport::MutualTls(tls) => Some(TlsTo::Mesh(tls)),
        UpstreamTransport::Context(context) => Some(TlsTo::Context(context)),
    }
}

impl Connector {
    /// Connects within `timeout`, TLS included. `preamble` is sent before anything else.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        preamble: &[u8],
        tls: Option<(TlsTo<'_>, &ClusterTls)>,
        protocol: ApplicationProtocol,
        timeout: Duration,
    ) -> Result<Connected, ConnectError> {
        let connecting = async {
            let Some((settings, cluster)) = tls else {
                let stream = self.tcp(address, preamble).await.map_err(ConnectError::failed)?;
                return Ok(Connected { io: Io::from(stream), peer: None, certificate: None });
            };
            let settings = match settings {
                TlsTo::Mesh(settings) => settings,
                TlsTo::Context(context) => return self.with_context(context, address, preamble).await,
            };
            let inbound = self.inbound.get().filter(|_| self.own.contains(&address.ip()));
            let (stream, announced) = match inbound {
                Some(port) => {
                    let (stream, announced) =
                        self.own_inbound(address, port).await.map_err(ConnectError::failed)?;
                    (stream, Some(announced))
                }
                None => (self.tcp(address, preamble).await.map_err(ConnectError::failed)?, None),
            };
            let connected = self.tls(stream, address, settings, cluster, protocol).await;
            // The handshake was the inbound side's: it has found out by now.
            drop(announced);
            connected
        };
        tokio::time::timeout(timeout, connecting).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn with_context(
        &self,
        context: &Arc<ClientContext>,
        address: SocketAddr,
        preamble: &[u8],
    ) -> Result<Connected, ConnectError> {
        let stream = self.tcp(address, preamble).await.map_err(ConnectError::failed)?;
        let sni = Some(&*context.sni).filter(|sni| !sni.is_empty());
        let connecting = self.contexts.connect(context, server_name(sni, address.ip()), stream);
        let (stream, peer) = Box::pin(connecting).await.map_err(ConnectError::failed)?;
        let peer = peer.map(|peer| Arc::new(peer.identity().clone()));
        Ok(Connected { io: Io::from(stream), peer, certificate: None })
    }

    async fn tcp(&self, address: SocketAddr, preamble: &[u8]) -> io::Result<TcpStream> {
        let mut stream = self.plain_tcp(address).await?;
        if !preamble.is_empty() {
            stream.write_all(preamble).await?;
        }
        Ok(stream)
    }

    async fn plain_tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        if let Some(egress) = self.egress.as_ref().filter(|egress| egress.leads_to(address.ip())) {
            return Box::pin(egress.connect(address)).await;
        }
        let socket = self.socket(address)?;
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.connect(address).await
    }

    /// A workload that calls its own service comes to its own proxy, at `port` (see `own_calls`).
    async fn own_inbound(&self, address: SocketAddr, port: u16) -> io::Result<(TcpStream, Announced)> {
        let socket = self.socket(address)?;
        socket.bind(SocketAddr::new(address.ip(), 0))?;
        let announced = self.own_calls.announce(socket.local_addr()?, address);
        let stream = socket.connect(SocketAddr::new(address.ip(), port)).await?;
        Ok((stream, announced))
    }

    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn tls(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        settings: &UpstreamTls,
        cluster: &ClusterTls,
        protocol: ApplicationProtocol,
    ) -> Result<Connected, ConnectError> {
        let Some(identity) = &self.identity else {
            return Err(ConnectError::failed("mutual TLS is wanted, but this proxy has no identity"));
        };
        let cell = &cluster.connectors[protocol as usize];
        let connector = match cell.get() {
            Some(connector) => connector,
            None => {
                let expected = expected(settings)?;
                cell.get_or_init(|| ClientConnector::new(identity.clone(), expected, protocol))
            }
        };
        let sni = Some(&*settings.sni).filter(|sni| !sni.is_empty());
        let name = server_name(sni, address.ip());
        let connected = connector.connect(stream, name).await.map_err(ConnectError::failed)?;
        Ok(Connected {
            io: Io::from(connected.stream),
            peer: Some(Arc::new(connected.peer.identity().clone())),
            certificate: identity.current(),
        })
    }
}

/// An identity that cannot be read must not widen what is accepted: then there is no connection at all.
fn expected(settings: &UpstreamTls) -> Result<ExpectedIdentities, ConnectError> {
    let parsed: Result<Vec<WorkloadIdentity>, _> =
        settings.identities.iter().map(|text| text.parse::<WorkloadIdentity>()).collect();
    parsed.map(ExpectedIdentities::of).map_err(|error| {
        ConnectError::failed(format!("the cluster's expected identities cannot be used: {error}"))
    })
}
