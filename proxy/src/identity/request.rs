//! One exchange with the authority: a new key, a request, a certificate.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tonic::metadata::MetadataValue;
use weft_model::identity::WorkloadIdentity;
use weft_proto::istio::ca::IstioCertificateRequest;
use weft_proto::istio::ca::istio_certificate_service_client::IstioCertificateServiceClient;

use super::certificate::WorkloadCertificate;
use super::channel::channel;
use super::current::{Identity, read_bundle};
use super::settings::{IdentityError, IdentitySettings, JoinToken, TokenSource};
use super::store::{IdentityStore, split_roots};

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

/// For the whole exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(20);
/// What a workload's name is called in the metadata of a request, as in Istio's node metadata.
const WORKLOAD_NAME: &str = "WORKLOAD_NAME";

/// Obtains a certificate for a key made for it, proving who we are by the current certificate or else by a token, and
/// keeps it. The key is not sent, and not written before there is a certificate for it.
pub(super) async fn obtain(
    settings: &IdentitySettings,
    identity: &Identity,
    now: SystemTime,
) -> Result<WorkloadCertificate, IdentityError> {
    let token = credential(settings, identity, now)?;
    let (key, csr) = key_and_request(&settings.identity)?;
    let certificates = exchange(settings, identity, csr, token).await?;

    let store = IdentityStore::open(&settings.state_dir)?;
    // The authority that sent these roots was verified by a root we trust, so it may name more of them. What it no
    // longer sends is trusted only while our own file says so.
    let (chain, roots) = split_roots(certificates.clone());
    let bundle = read_bundle(settings)?
        .with(roots)
        .map_err(|source| IdentityError::TrustBundle { path: settings.trust_bundle.clone(), source })?;
    let certificate = WorkloadCertificate::new(chain, PrivateKeyDer::from(key.clone_key()), bundle)?;
    if *certificate.identity() != settings.identity {
        return Err(IdentityError::Malformed(format!(
            "the authority issued a certificate for {} instead of {}",
            certificate.identity(),
            settings.identity
        )));
    }
    certificate.verify(now)?;
    if let Err(error) = store.save(&key, &certificates) {
        tracing::warn!(%error, "the new certificate is used but not kept: a restart needs the control plane");
    }
    Ok(certificate)
}

/// A token when there is no certificate that still proves who we are, or when it is to be shown each time. Then a
/// certificate alone is tried when the token was refused: what checks tokens may be away. An expired certificate without a token is
/// tried: the authority accepts one that ended not long ago, so that a laptop that slept need not join again.
fn credential(
    settings: &IdentitySettings,
    identity: &Identity,
    now: SystemTime,
) -> Result<Option<JoinToken>, IdentityError> {
    let current = identity.current();
    let each_time = matches!(settings.token, TokenSource::Projected(_));
    if !each_time && current.as_ref().is_some_and(|certificate| now < certificate.not_after()) {
        return Ok(None);
    }
    let token = match &settings.token {
        TokenSource::None => None,
        TokenSource::Token(token) => Some(token.clone()),
        TokenSource::File(path) | TokenSource::Projected(path) => match std::fs::read_to_string(path) {
            Ok(text) => JoinToken::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(IdentityError::file("read", path)(error)),
        },
    };
    match (&token, current) {
        (None, None) => Err(IdentityError::NoCredential),
        // The token may have been used for the first certificate already, the certificate may have ended too long
        // ago: each is tried in turn.
        (Some(_), Some(_)) if identity.renewal(|state| state.failures).is_multiple_of(2) != each_time => {
            Ok(None)
        }
        _ => Ok(token),
    }
}

fn key_and_request(
    identity: &WorkloadIdentity,
) -> Result<(PrivatePkcs8KeyDer<'static>, String), IdentityError> {
    let failed = |error: rcgen::Error| IdentityError::Request(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().map_err(failed)?)];
    let csr = params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
    Ok((PrivatePkcs8KeyDer::from(key.serialize_der()), csr))
}

async fn exchange(
    settings: &IdentitySettings,
    identity: &Identity,
    csr: String,
    token: Option<JoinToken>,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let address = &settings.control_plane.address;
    // A connection of its own, so that no other request ever travels on one made without a certificate.
    let mut client = IstioCertificateServiceClient::new(channel(&settings.control_plane, identity)?);
    let mut request = tonic::Request::new(IstioCertificateRequest {
        csr,
        validity_duration: settings
            .lifetime
            .map_or(0, |lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)),
        metadata: settings.workload.as_deref().map(metadata),
    });
    if let Some(token) = token {
        let mut value = MetadataValue::try_from(format!("Bearer {}", token.reveal()))
            .map_err(|_| IdentityError::Request("the join token cannot travel in a header".to_owned()))?;
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    let unreachable = |reason: String| IdentityError::Unreachable { address: address.clone(), reason };
    let response = tokio::time::timeout(EXCHANGE_TIMEOUT, client.create_certificate(request))
        .await
        .map_err(|_| unreachable("no answer in time".to_owned()))?
        .map_err(|status| match status.code() {
            tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::DeadlineExceeded => {
                unreachable(innermost(&status))
            }
            _ => IdentityError::Refused { address: address.clone(), reason: status.message().to_owned() },
        })?;
    let pem = response.into_inner().cert_chain.concat();
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| IdentityError::Malformed(format!("the authority's answer is not PEM: {error}")))
}

/// The cause that says something: tonic's own text is only "transport error".
fn innermost(status: &tonic::Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    if std::ptr::eq(std::ptr::from_ref(error).cast::<()>(), std::ptr::from_ref(status).cast::<()>()) {
        return status.message().to_owned();
    }
    error.to_string()
}

fn metadata(workload: &str) -> prost_types::Struct {
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(workload.to_owned())) };
    prost_types::Struct { fields: [(WORKLOAD_NAME.to_owned(), value)].into() }
}
