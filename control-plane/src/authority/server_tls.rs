//! TLS for servers of the control plane whose clients prove nothing: the webhooks, which API servers call.

use std::sync::Arc;

use rustls::ServerConfig;
use weft_model::identity::WorkloadIdentity;

use super::acceptor::AcceptorSettings;
use super::error::AuthorityError;
use super::server_certificate::ServerCertificate;
use super::sign::CertificateAuthority;

/// A certificate of the control plane for these names, renewed in place well before its end; `alpn` are the protocols
/// in the order of preference.
///
/// # Errors
/// When no certificate can be issued.
pub fn server_tls(
    authority: Arc<CertificateAuthority>,
    dns_names: Vec<String>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, AuthorityError> {
    let own = AcceptorSettings::default();
    let identity =
        WorkloadIdentity::new(authority.trust_domain().clone(), &own.namespace, &own.service_account)?;
    let certificate = ServerCertificate::new(authority, identity, dns_names)?;
    let mut tls = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(AuthorityError::crypto("configure TLS"))?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(tls))
}
