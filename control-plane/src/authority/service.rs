//! `IstioCertificateService/CreateCertificate`: a request and a proof become a certificate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::{Request, Response, Status};
use weft_model::identity::WorkloadIdentity;
use weft_proto::istio::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use weft_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};

use super::attest::{Attestor, Claim};
use super::connection::{peer_address, renewable_identity};
use super::limit::{Allowances, RateLimit};
use super::request::CheckedRequest;
use super::sign::CertificateAuthority;

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

/// What a refusal costs of a peer's allowance, on top of the request's 1: guessing gets slow.
const REFUSAL_COST: f64 = 4.0;
/// A request is a few hundred bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// What a workload's name is called in the metadata of a request, as in Istio's node metadata.
const WORKLOAD_NAME: &str = "WORKLOAD_NAME";

/// Serves certificates.
#[derive(Clone, Debug)]
pub struct CertificateService {
    authority: Arc<CertificateAuthority>,
    attestor: Attestor,
    allowances: Arc<Allowances>,
}

impl CertificateService {
    /// A service that signs for those whom the attestor vouches for, and for holders of a certificate.
    #[must_use]
    pub fn new(authority: Arc<CertificateAuthority>, attestor: Attestor, limit: RateLimit) -> Self {
        Self { authority, attestor, allowances: Arc::new(Allowances::new(limit)) }
    }

    /// As tonic serves it.
    #[must_use]
    pub fn into_server(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    async fn create(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<IstioCertificateResponse, Status> {
        // The request first: one that can never be granted must not use up a token.
        let checked = CheckedRequest::of(&request.get_ref().csr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let proof = self.proof(&request)?;
        if let Proof::Certificate(identity) = &proof {
            agrees(&checked, identity)?;
        }
        let asked = match request.get_ref().validity_duration {
            seconds if seconds > 0 => Some(Duration::from_secs(seconds.unsigned_abs())),
            _ => None,
        };
        let identity = match proof {
            Proof::Certificate(identity) => identity,
            Proof::Bearer(credential) => {
                let name = workload_name(request.get_ref()).map(str::to_owned);
                let claim = Claim { identity: checked.claimed.clone(), name };
                let workload = self.attestor.attest(&credential, claim).await?;
                let trust_domain = self.authority.trust_domain().clone();
                WorkloadIdentity::new(trust_domain, &workload.namespace, &workload.service_account)
                    .map_err(|error| Status::internal(error.to_string()))?
            }
        };
        agrees(&checked, &identity)?;
        let issued = self.authority.issue(&identity, &checked.key, asked).map_err(|error| {
            tracing::error!(%error, %identity, "could not issue a certificate");
            Status::internal(error.to_string())
        })?;
        tracing::info!(%identity, serial = issued.serial, peer = ?peer_address(&request), "issued a certificate");
        Ok(IstioCertificateResponse { cert_chain: issued.to_pem_chain() })
    }

    /// A bearer credential when there is one, else the verified certificate of the connection. A bad credential is
    /// not made good by a certificate: a sender who shows one means it.
    fn proof(&self, request: &Request<IstioCertificateRequest>) -> Result<Proof, Status> {
        if let Some(value) = request.metadata().get("authorization") {
            return value
                .to_str()
                .ok()
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, credential)| Proof::Bearer(credential.trim().to_owned()))
                .ok_or_else(|| Status::unauthenticated("the authorization header is not `Bearer TOKEN`"));
        }
        let identity = renewable_identity(request).ok_or_else(|| {
            Status::unauthenticated(
                "neither a join token nor a certificate of this mesh (expired ones count for a week) was shown",
            )
        })?;
        if identity.trust_domain != *self.authority.trust_domain() {
            return Err(Status::permission_denied(format!(
                "{identity} is not of this mesh's trust domain {}",
                self.authority.trust_domain()
            )));
        }
        Ok(Proof::Certificate(identity))
    }

    fn charge(&self, address: Option<std::net::IpAddr>, cost: f64) -> Result<(), Status> {
        let Some(address) = address else { return Ok(()) };
        self.allowances.take(address, cost, Instant::now()).map_err(|wait| {
            Status::resource_exhausted(format!(
                "too many certificate requests from {address}; try again in {} s",
                wait.as_secs() + 1
            ))
        })
    }
}

enum Proof {
    Bearer(String),
    Certificate(WorkloadIdentity),
}

/// What a request claims must be what is proven, or nothing.
fn agrees(request: &CheckedRequest, identity: &WorkloadIdentity) -> Result<(), Status> {
    match &request.claimed {
        Some(claimed) if claimed != identity => Err(Status::permission_denied(format!(
            "the request asks for {claimed}, but its sender has proven to be {identity}"
        ))),
        _ => Ok(()),
    }
}

fn workload_name(request: &IstioCertificateRequest) -> Option<&str> {
    match request.metadata.as_ref()?.fields.get(WORKLOAD_NAME)?.kind.as_ref()? {
        prost_types::value::Kind::StringValue(name) => Some(name),
        _ => None,
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let peer = peer_address(&request);
        let address = peer.map(|peer| peer.ip().to_canonical());
        self.charge(address, 1.0)?;
        match self.create(request).await {
            Ok(response) => Ok(Response::new(response)),
            Err(status) => {
                tracing::warn!(code = ?status.code(), reason = status.message(), ?peer, "refused a certificate");
                // It may run into the limit here; the answer stays the true one.
                let _ = self.charge(address, REFUSAL_COST);
                Err(status)
            }
        }
    }
}
