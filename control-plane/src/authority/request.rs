//! Check a certificate signing request before anything is done for it.

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use weft_model::identity::WorkloadIdentity;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, GeneralName};
use x509_parser::public_key::PublicKey;

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

/// A request is some 500 bytes; one with a 4096-bit RSA key 2 KB.
const MAX_REQUEST: usize = 16 * 1024;
const MIN_RSA_BITS: usize = 2048;
/// Beyond it, verifying costs more than a peer should be able to make us pay.
const MAX_RSA_BITS: usize = 8192;

/// A request whose sender holds the private key, for a key we would certify.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    /// To be certified.
    pub(super) key: SubjectPublicKeyInfo,
    /// Who the sender says it is. Compared with the attested identity, never used instead of it.
    pub(super) claimed: Option<WorkloadIdentity>,
}

/// Everything that is wrong with a request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the certificate signing request is refused: {}", .0.join("; "))]
pub(super) struct RequestError(pub(super) Vec<String>);

impl CheckedRequest {
    pub(super) fn of(pem: &str) -> Result<Self, RequestError> {
        let refused = |problem: &str| RequestError(vec![problem.to_owned()]);
        if pem.len() > MAX_REQUEST {
            return Err(refused("it is longer than 16 KiB"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| refused("it is not a PEM certificate request (PKCS#10)"))?;
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|_| refused("it cannot be parsed as PKCS#10"))?;
        if !rest.is_empty() {
            return Err(refused("bytes follow the request"));
        }
        let mut problems = Vec::new();
        let info = &request.certification_request_info;
        let key = check_key(&info.subject_pki).inspect_err(|problem| problems.push(problem.clone())).ok();
        // A key of a kind or size that we refuse is not worth the verification.
        if key.is_some() && request.verify_signature().is_err() {
            problems
                .push("its signature does not verify: the sender does not hold the private key".to_owned());
        }
        let claimed = check_extensions(&request, &mut problems);
        match key {
            Some(key) if problems.is_empty() => Ok(Self { key, claimed }),
            _ => Err(RequestError(problems)),
        }
    }
}

/// ECDSA on P-256 or P-384, Ed25519, or RSA of at least 2048 bits.
fn check_key(info: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<SubjectPublicKeyInfo, String> {
    let unsupported =
        || "its key is neither ECDSA (P-256, P-384) nor Ed25519 nor RSA (2048 to 8192 bits)".to_owned();
    // By the key's own algorithm: the signature's hash says nothing of the curve.
    let key = SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| unsupported())?;
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let bits = rsa.key_size();
            if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                Ok(key)
            } else {
                Err(format!("its RSA key has {bits} bits, allowed are {MIN_RSA_BITS} to {MAX_RSA_BITS}"))
            }
        }
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => Ok(key),
        Ok(PublicKey::EC(point)) => {
            Err(format!("its ECDSA key has {} bits, allowed are 256 and 384", point.key_size()))
        }
        // RFC 8410: id-Ed25519.
        Ok(PublicKey::Unknown(_)) if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => Ok(key),
        _ => Err(unsupported()),
    }
}

/// What a request may ask for: to be no authority, and at most one name, a SPIFFE identity.
fn check_extensions(
    request: &X509CertificationRequest<'_>,
    problems: &mut Vec<String>,
) -> Option<WorkloadIdentity> {
    let mut claimed = None;
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                problems.push("it asks for the certificate of an authority".to_owned());
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) if claimed.is_none() => match uri.parse() {
                            Ok(identity) => claimed = Some(identity),
                            Err(error) => {
                                problems.push(format!("it asks for a URI that is no identity: {error}"))
                            }
                        },
                        GeneralName::URI(_) => problems.push("it asks for more than one identity".to_owned()),
                        other => problems.push(format!("it asks for a name that is no identity: {other}")),
                    }
                }
            }
            ParsedExtension::ParseError { .. } => {
                problems.push("it asks for an extension that cannot be parsed".to_owned());
            }
            // Usages and the like are ours to decide.
            _ => {}
        }
    }
    claimed
}
