//! TLS with certificates of the user's own: from files, texts, and files of secrets that are read again when they change.
//!
//! What is built of a context is kept beside it, for all workers, as long as the configuration has the context. It holds
//! the session tickets, so that a session cannot outlive the certificates and roots that it was made under.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use weft_model::bootstrap::Bootstrap;
use weft_model::cluster::UpstreamTransport;
use weft_model::listener::DownstreamTls;
use weft_model::tls::{ClientContext, SecretFile, ServerContext};

use super::alpn::{ApplicationProtocol, application_protocol};
use super::build;
use super::error::TlsError;
use super::peer::PeerIdentity;
use super::verify::peer_identity;

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;

/// What was built of each context.
#[derive(Debug, Default)]
pub struct TlsContexts {
    built: ArcSwap<Table>,
    // Who builds; nobody who only looks up waits for it.
    building: Mutex<()>,
}

/// By the address of the context, which is kept so that the address stays its own.
type Table = HashMap<usize, Built>;

#[derive(Clone, Debug)]
enum Built {
    Server(Arc<ServerContext>, Arc<ServerConfig>),
    Client(Arc<ClientContext>, Arc<ClientConfig>),
}

impl Built {
    fn secret_files(&self) -> Vec<&SecretFile> {
        match self {
            Self::Server(context, _) => context.tls.secret_files().collect(),
            Self::Client(context, _) => context.tls.secret_files().collect(),
        }
    }

    /// Whether the configuration still has the context, beside this table.
    fn is_used(&self) -> bool {
        match self {
            Self::Server(context, _) => Arc::strong_count(context) > 1,
            Self::Client(context, _) => Arc::strong_count(context) > 1,
        }
    }

    fn rebuilt(&self) -> Result<Self, TlsError> {
        Ok(match self {
            Self::Server(context, _) => Self::Server(context.clone(), build::server(context)?),
            Self::Client(context, _) => Self::Client(context.clone(), build::client(context)?),
        })
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Terminated<IO> {
    /// The bytes inside.
    pub stream: server::TlsStream<IO>,
    /// Who called, when that was proven and is a SPIFFE identity.
    pub peer: Option<PeerIdentity>,
    /// What the bytes are; none: to be sniffed.
    pub protocol: Option<ApplicationProtocol>,
}

impl TlsContexts {
    /// The server's configuration.
    ///
    /// # Errors
    /// A certificate, key or root cannot be read or used.
    pub fn server(&self, context: &Arc<ServerContext>) -> Result<Arc<ServerConfig>, TlsError> {
        let key = Arc::as_ptr(context) as usize;
        if let Some(Built::Server(_, config)) = self.built.load().get(&key) {
            return Ok(config.clone());
        }
        let config = build::server(context)?;
        self.keep(key, Built::Server(context.clone(), config.clone()));
        Ok(config)
    }

    /// The client's configuration.
    ///
    /// # Errors
    /// As [`TlsContexts::server`].
    pub fn client(&self, context: &Arc<ClientContext>) -> Result<Arc<ClientConfig>, TlsError> {
        let key = Arc::as_ptr(context) as usize;
        if let Some(Built::Client(_, config)) = self.built.load().get(&key) {
            return Ok(config.clone());
        }
        let config = build::client(context)?;
        self.keep(key, Built::Client(context.clone(), config.clone()));
        Ok(config)
    }

    /// Builds all of a bootstrap, so that what cannot be used is known before anyone connects.
    ///
    /// # Errors
    /// Everything that cannot be read or used, each with the listener or cluster that it is for.
    pub fn prepare(&self, bootstrap: &Bootstrap) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        for listener in &bootstrap.listeners {
            for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
                if let Some(DownstreamTls::Context(context)) = &chain.tls
                    && let Err(error) = self.server(context)
                {
                    mistakes.push(format!("listener {}: transport_socket: {error}", listener.name));
                }
            }
        }
        for cluster in &bootstrap.clusters {
            if let UpstreamTransport::Context(context) = &cluster.transport
                && let Err(error) = self.client(context)
            {
                mistakes.push(format!("cluster {}: transport_socket: {error}", cluster.name));
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    fn keep(&self, key: usize, built: Built) {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.built.load());
        table.retain(|_, old| old.is_used());
        table.insert(key, built);
        self.built.store(Arc::new(table));
    }

    /// The files of secrets that are in use.
    #[must_use]
    pub fn secret_files(&self) -> Vec<SecretFile> {
        let table = self.built.load();
        let mut files: Vec<SecretFile> = table.values().flat_map(Built::secret_files).cloned().collect();
        files.sort_unstable_by(|a, b| (&a.path, &a.name).cmp(&(&b.path, &b.name)));
        files.dedup();
        files
    }

    /// Reads the files of secrets again, for new connections. What cannot be used leaves in force what was.
    pub fn reload(&self, changed: impl Fn(&SecretFile) -> bool) {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.built.load());
        for built in table.values_mut() {
            let files: Vec<_> = built.secret_files().into_iter().filter(|file| changed(file)).collect();
            let Some(first) = files.first() else { continue };
            let (path, name) = (first.path.display().to_string(), first.name.clone());
            match built.rebuilt() {
                Ok(new) => {
                    *built = new;
                    tracing::info!(path, secret = &*name, "read the secret again");
                }
                Err(error) => {
                    tracing::error!(path, secret = &*name, "the former secret stays in force: {error}");
                }
            }
        }
        self.built.store(Arc::new(table));
    }

    /// Makes the handshake of a server. The caller bounds its time.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        context: &Arc<ServerContext>,
        io: IO,
    ) -> Result<Terminated<IO>, TlsError> {
        let acceptor = TlsAcceptor::from(self.server(context)?);
        let stream = acceptor.accept(io).await.map_err(|error| TlsError::of_handshake(&error))?;
        let connection = stream.get_ref().1;
        let proven = context.tls.validation.as_ref().is_some_and(|it| !it.trusted.is_empty());
        let peer = if proven { peer_identity(connection, SystemTime::now()).ok() } else { None };
        let protocol = application_protocol(connection.alpn_protocol());
        Ok(Terminated { stream, peer, protocol })
    }

    /// Makes the handshake of a client; `name` is the server's name or address.
    ///
    /// # Errors
    /// Why there is no connection; nothing of a request has been sent, so trying again is safe.
    pub async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        context: &Arc<ClientContext>,
        name: ServerName<'static>,
        io: IO,
    ) -> Result<(client::TlsStream<IO>, Option<PeerIdentity>), TlsError> {
        let connector = TlsConnector::from(self.client(context)?);
        let stream = connector.connect(name, io).await.map_err(|error| TlsError::of_handshake(&error))?;
        let proven = context.tls.validation.as_ref().is_some_and(|it| !it.trusted.is_empty());
        let peer = if proven { peer_identity(stream.get_ref().1, SystemTime::now()).ok() } else { None };
        Ok((stream, peer))
    }
}
