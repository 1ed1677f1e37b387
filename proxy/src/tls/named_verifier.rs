//! Prove that a peer is vouched for by the user's roots and has a name that the user accepts.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use weft_model::tls::{NameKind, NameMatch};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::build::algorithms;
use super::error::TlsError;
use super::verify::provider;

/// Verifies clients and servers by roots and names.
pub(super) struct NamedVerifier {
    /// Empty: nobody needs to vouch.
    roots: Arc<RootCertStore>,
    /// Empty: any name will do.
    names: Vec<NameMatch>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl NamedVerifier {
    pub(super) fn new(roots: RootCertStore, names: Vec<NameMatch>) -> Self {
        Self { roots: Arc::new(roots), names, clients: None }
    }

    /// Takes whoever answers, as Envoy does where no validation is configured.
    pub(super) fn of_anyone() -> Self {
        Self::new(RootCertStore::empty(), Vec::new())
    }

    pub(super) fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }

    /// For a server; `required`: refuse who shows no certificate.
    pub(super) fn for_clients(mut self, required: bool) -> Result<Self, TlsError> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider());
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        self.clients = Some(builder.build().map_err(|error| TlsError::Protocol(error.to_string()))?);
        Ok(self)
    }

    fn check_names(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        let presented = names_of(leaf);
        let accepted =
            presented.iter().any(|(kind, name)| self.names.iter().any(|wanted| wanted.accepts(*kind, name)));
        if accepted {
            return Ok(());
        }
        let presented = presented.into_iter().map(|(_, name)| name).collect();
        Err(rustls::Error::InvalidCertificate(TlsError::WrongName { presented }.into_certificate_error()))
    }
}

/// The alternative names of a certificate; none of one that cannot be parsed.
fn names_of(leaf: &CertificateDer<'_>) -> Vec<(NameKind, String)> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((NameKind::Dns, (*name).to_owned())),
        GeneralName::URI(uri) => Some((NameKind::Uri, (*uri).to_owned())),
        GeneralName::RFC822Name(name) => Some((NameKind::Email, (*name).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(|ip| (NameKind::Ip, ip.to_string())),
        _ => None,
    });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

impl fmt::Debug for NamedVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, names, .. } = self;
        f.debug_struct("NamedVerifier")
            .field("roots", &roots.len())
            .field("names", names)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for NamedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.has_roots() {
            let leaf = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &self.roots,
                intermediates,
                now,
                algorithms().all,
            )?;
        }
        self.check_names(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for NamedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.as_ref().map_or(&[], |clients| clients.root_hint_subjects())
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.client_auth_mandatory())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let Some(clients) = &self.clients else {
            return Err(rustls::Error::General("no client can be verified".to_owned()));
        };
        let verified = clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check_names(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
