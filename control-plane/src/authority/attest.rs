//! Establish who asks, by proof.

use std::sync::Arc;

use tonic::Status;
use weft_model::identity::WorkloadIdentity;

use crate::kubernetes::TokenReviews;

use super::token::{JoinTokens, TokenRefusal, token_fingerprint};

/// Who a proof stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its own name, where the proof is bound to one.
    pub name: Option<String>,
}

/// What a sender says of itself. Never believed; a proof must agree with it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Claim {
    /// The identity its request asks for, when it asks for one.
    pub(super) identity: Option<WorkloadIdentity>,
    /// Its own name.
    pub(super) name: Option<String>,
}

impl Claim {
    /// Whether a proof for a workload could be this sender's. A proof that is bound to a name wants the name.
    pub(super) fn fits(&self, workload: &Workload) -> bool {
        let identity = self.identity.as_ref().is_none_or(|identity| {
            *identity.namespace == *workload.namespace
                && *identity.service_account == *workload.service_account
        });
        identity && (workload.name.is_none() || workload.name == self.name)
    }
}

/// Takes bearer credentials.
#[derive(Clone, Debug)]
pub enum Attestor {
    /// Tokens made here.
    JoinTokens(Arc<JoinTokens>),
    /// Tokens of Kubernetes service accounts.
    ServiceAccountTokens(Arc<TokenReviews>),
}

impl Attestor {
    /// Whom a bearer credential stands for. It is used up if it can be used once.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for a credential that proves nothing, `PERMISSION_DENIED` for one that proved something
    /// once or proves something else, `UNAVAILABLE` when it cannot be told.
    pub(super) async fn attest(&self, credential: &str, claim: Claim) -> Result<Workload, Status> {
        match self {
            Self::ServiceAccountTokens(reviews) => {
                let workload = reviews.review(credential).await?;
                let pod = workload.name.as_deref().unwrap_or("none");
                tracing::debug!(workload.namespace, workload.service_account, pod, "attested by a token");
                Ok(workload)
            }
            Self::JoinTokens(tokens) => {
                let (tokens, text) = (Arc::clone(tokens), credential.to_owned());
                // Waits for the disk, so off the threads that serve.
                let redeemed = tokio::task::spawn_blocking(move || tokens.redeem(&text, &claim)).await;
                match redeemed {
                    Ok(Ok(workload)) => Ok(workload),
                    Ok(Err(refusal)) => Err(status(refusal, credential)),
                    Err(_) => Err(Status::internal("the join token could not be checked")),
                }
            }
        }
    }
}

fn status(refusal: TokenRefusal, credential: &str) -> Status {
    let token = token_fingerprint(credential);
    tracing::warn!(reason = %refusal, token, "refused a join token");
    let message = refusal.to_string();
    match refusal {
        TokenRefusal::Foreign | TokenRefusal::Unknown | TokenRefusal::Expired => {
            Status::unauthenticated(message)
        }
        TokenRefusal::Used | TokenRefusal::OtherWorkload => Status::permission_denied(message),
        TokenRefusal::Unrecorded => Status::unavailable(message),
    }
}
