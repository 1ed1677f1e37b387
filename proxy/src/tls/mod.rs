//! Terminate and originate mutual TLS; verify SPIFFE identities.
//!
//! Trust follows from three checks, made in this order during every full handshake: the chain ends at a root of the
//! mesh's trust bundle and is valid now; the leaf names exactly one SPIFFE identity of our trust domain
//! (X.509-SVID, section 5.2); a client also demands that the identity is one the destination may have. Host names
//! play no part. A [`PeerIdentity`] exists only behind these checks.
//!
//! Where a user configures TLS with certificates of the user's own, as in Envoy, `context` has its rules instead.
//!
//! Configurations are built when the workload's certificate changes, never per connection, and hold the session
//! tickets, so that a session cannot outlive the certificate or the trust bundle it was made under.

mod alpn;
mod build;
mod client;
mod context;
mod error;
mod named_verifier;
mod peer;
mod server;
mod verify;

pub use alpn::{ApplicationProtocol, application_protocol, is_mesh_alpn, offered_alpn};
pub use client::{ClientConnector, Connected, client_config, server_name};
pub use context::{Terminated, TlsContexts};
pub use error::TlsError;
pub use peer::{ExpectedIdentities, PeerIdentity};
pub use server::{Accepted, ServerAcceptor, server_config};

pub(crate) use verify::{CertificateFacts, provider, verify_own_chain};

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod handshake_tests;
#[cfg(test)]
#[path = "openssl_tests.rs"]
mod openssl_tests;
#[cfg(test)]
pub(crate) mod testing;
