//! From a context of the configuration to what rustls works with.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use weft_model::bootstrap::{self, Secret};
use weft_model::tls::{
    CertificateSource, ClientContext, DataSource, SecretFile, ServerContext, TlsVersions, TrustSource,
    Validation,
};

use super::error::TlsError;
use super::named_verifier::NamedVerifier;
use super::verify::provider;

/// Endpoints whose sessions are kept for resumption, per cluster.
const RESUMABLE_SERVERS: usize = 64;

pub(super) fn server(context: &ServerContext) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(context.tls.versions))
        .map_err(|error| TlsError::from(&error))?;
    let builder = match verifier(context.tls.validation.as_ref())?.filter(NamedVerifier::has_roots) {
        Some(verifier) => {
            let verifier = verifier.for_clients(context.require_client_certificate)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        None => builder.with_no_client_auth(),
    };
    let certificates = certificates(&context.tls.certificates)?;
    let mut config = builder.with_cert_resolver(Arc::new(FirstThatFits(certificates)));
    config.alpn_protocols = alpn(&context.tls.application_protocols);
    if context.resumption {
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsError::from(&error))?;
        config.send_tls13_tickets = 1;
    } else {
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

pub(super) fn client(context: &ClientContext) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = verifier(context.tls.validation.as_ref())?.unwrap_or_else(NamedVerifier::of_anyone);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(context.tls.versions))
        .map_err(|error| TlsError::from(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let certificates = certificates(&context.tls.certificates)?;
    let mut config = if certificates.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(FirstThatFits(certificates)))
    };
    config.alpn_protocols = alpn(&context.tls.application_protocols);
    config.enable_sni = !context.sni.is_empty();
    config.resumption = if context.resumption {
        Resumption::in_memory_sessions(RESUMABLE_SERVERS)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    match versions {
        TlsVersions::Both => &BOTH,
        TlsVersions::Tls13 => &BOTH[..1],
        TlsVersions::Tls12 => &BOTH[1..],
    }
}

fn alpn(protocols: &[Arc<str>]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

fn verifier(validation: Option<&Validation>) -> Result<Option<NamedVerifier>, TlsError> {
    let Some(validation) = validation else { return Ok(None) };
    let mut names = validation.names.clone();
    let mut roots = RootCertStore::empty();
    for source in &validation.trusted {
        match source {
            TrustSource::Pem(data) => add_roots(&mut roots, data)?,
            TrustSource::Secret(file) => {
                let Secret::Validation(found) = secret(file)? else {
                    return Err(unusable(&file.path.display(), "the secret is no validation context"));
                };
                names.extend(found.names);
                for source in &found.trusted {
                    match source {
                        TrustSource::Pem(data) => add_roots(&mut roots, data)?,
                        TrustSource::Secret(inner) => {
                            return Err(unusable(&inner.path.display(), "a secret cannot name another one"));
                        }
                    }
                }
            }
        }
    }
    Ok(Some(NamedVerifier::new(roots, names)))
}

fn add_roots(roots: &mut RootCertStore, data: &DataSource) -> Result<(), TlsError> {
    let (pem, place) = read(data)?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(&place, error))?;
        roots.add(certificate).map_err(|error| unusable(&place, error))?;
    }
    if roots.len() == before { Err(unusable(&place, "has no certificate")) } else { Ok(()) }
}

fn certificates(sources: &[CertificateSource]) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    sources.iter().map(|source| certificate(source).map(Arc::new)).collect()
}

fn certificate(source: &CertificateSource) -> Result<CertifiedKey, TlsError> {
    match source {
        CertificateSource::Pem { chain, key } => certified(chain, key),
        CertificateSource::Secret(file) => match secret(file)? {
            Secret::Certificate(CertificateSource::Pem { chain, key }) => certified(&chain, &key),
            _ => Err(unusable(&file.path.display(), "the secret is no certificate")),
        },
    }
}

fn certified(chain: &DataSource, key: &DataSource) -> Result<CertifiedKey, TlsError> {
    let (pem, place) = read(chain)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| unusable(&place, error))?;
    if chain.is_empty() {
        return Err(unusable(&place, "has no certificate"));
    }
    let (pem, key_place) = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(&key_place, error))?;
    let key = provider().key_provider.load_private_key(key).map_err(|error| unusable(&key_place, error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err(unusable(&key_place, format!("is not the key of the certificate in {place}"))),
    }
}

/// The secret of a file, as the file is now.
fn secret(file: &SecretFile) -> Result<Secret, TlsError> {
    let place = file.path.display();
    let text = std::fs::read_to_string(&file.path).map_err(|error| unusable(&place, error))?;
    let mut secrets = bootstrap::read_secrets(&text).map_err(|errors| unusable(&place, errors))?;
    secrets.remove(&*file.name).ok_or_else(|| unusable(&place, format!("has no secret `{}`", file.name)))
}

/// The bytes, and where they stand.
fn read(data: &DataSource) -> Result<(Vec<u8>, String), TlsError> {
    match data {
        DataSource::Inline(bytes) => Ok((bytes.to_vec(), "the configuration".to_owned())),
        DataSource::File(path) => {
            let place = path.display().to_string();
            let bytes = std::fs::read(path).map_err(|error| unusable(&place, error))?;
            Ok((bytes, place))
        }
        DataSource::Environment(name) => {
            let place = format!("the environment variable {name}");
            let text = std::env::var(&**name).map_err(|error| unusable(&place, error))?;
            Ok((text.into_bytes(), place))
        }
    }
}

fn unusable(place: &impl ToString, why: impl ToString) -> TlsError {
    TlsError::Unusable { place: place.to_string(), why: why.to_string() }
}

/// Of several certificates the first whose key can sign what the peer understands.
#[derive(Debug)]
struct FirstThatFits(Vec<Arc<CertifiedKey>>);

impl FirstThatFits {
    fn choose(&self, schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = self.0.iter().find(|certified| certified.key.choose_scheme(schemes).is_some());
        fits.or(self.0.first()).cloned()
    }
}

impl ResolvesServerCert for FirstThatFits {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.signature_schemes())
    }
}

impl rustls::client::ResolvesClientCert for FirstThatFits {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.choose(schemes)
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What can be verified.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}
