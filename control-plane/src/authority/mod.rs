//! Attest, sign, renew; keep the root.
//!
//! A workload's first certificate is had for a join token, every later one for the certificate before it. Who a
//! workload is follows from that proof alone, never from what its request claims. The protocol is Istio's
//! `IstioCertificateService`; what is issued are X.509-SVIDs.

mod acceptor;
mod attest;
mod connection;
mod error;
mod file;
mod given;
mod limit;
mod request;
mod root;
mod server_certificate;
mod server_tls;
mod service;
mod sign;
mod token;

pub use acceptor::{AcceptorSettings, ControlPlaneAcceptor, TlsIncoming};
pub use attest::{Attestor, Workload};
pub use connection::{ConnectionInfo, PeerIdentity, ServerConnection, peer_address, peer_identity};
pub use error::AuthorityError;
pub use given::RootPem;
pub use limit::RateLimit;
pub use root::RootSource;
pub use server_tls::server_tls;
pub use service::CertificateService;
pub use sign::{AuthoritySettings, CertificateAuthority, Issued};
pub use token::{IssuedToken, JoinToken, JoinTokens};

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// The cryptography of the control plane.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
pub(crate) mod testing;
