//! Tokens of service accounts, checked by the API server
//! (<https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/>).
//!
//! A token counts when it was made for our audience. Those that are bound to a pod, as kubelet mounts them, stand for that
//! pod and end with it; others are taken too, since whoever may make them for a service account may be that account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::authority::Workload;

#[cfg(test)]
#[path = "token_review_tests.rs"]
mod tests;

/// Whom sidecars' tokens are for.
pub const AUDIENCE: &str = "weft-ca";
/// Reviews at once; a mesh that starts as a whole must not be a burden to the API server.
const AT_ONCE: usize = 32;
/// A review that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A token that was refused is refused again without asking, for so long.
const DENIED_FOR: Duration = Duration::from_secs(10);
/// Refused tokens that are remembered.
const MOST_DENIED: usize = 1024;
/// A token is one to two kilobytes.
const MAX_TOKEN: usize = 16 * 1024;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Has tokens checked.
pub struct TokenReviews {
    client: Client,
    room: Semaphore,
    denied: Mutex<HashMap<[u8; 32], (Instant, String)>>,
}

impl std::fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReviews").finish_non_exhaustive()
    }
}

impl TokenReviews {
    /// Has them checked by the API server of a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, room: Semaphore::new(AT_ONCE), denied: Mutex::default() }
    }

    /// Whom a token stands for.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for a token that the API server does not vouch for, `PERMISSION_DENIED` for one of somebody who is
    /// no service account, `UNAVAILABLE` when the API server cannot be asked.
    pub async fn review(&self, token: &str) -> Result<Workload, Status> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Status::unauthenticated("this is no token of a service account"));
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(reason) = self.denied_before(&digest) {
            return Err(Status::unauthenticated(reason));
        }
        let reviewed = tokio::time::timeout(PATIENCE, self.ask(token)).await;
        let status = match reviewed {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(away(&super::explain(&error))),
            Err(_) => return Err(away("no answer in time")),
        };
        read(&status).inspect_err(|refused| self.deny(digest, refused.message()))
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, kube::Error> {
        // The semaphore is never closed.
        let _room = self.room.acquire().await;
        let spec =
            TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
        let review = TokenReview { spec, ..Default::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        Ok(api.create(&PostParams::default(), &review).await?.status.unwrap_or_default())
    }

    fn denied_before(&self, digest: &[u8; 32]) -> Option<String> {
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, reason) = denied.get(digest)?;
        (since.elapsed() < DENIED_FOR).then(|| reason.clone())
    }

    fn deny(&self, digest: [u8; 32], reason: &str) {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.retain(|_, (since, _)| since.elapsed() < DENIED_FOR);
        if denied.len() < MOST_DENIED {
            denied.insert(digest, (Instant::now(), reason.to_owned()));
        }
    }
}

fn away(reason: &str) -> Status {
    tracing::warn!(reason, "a service account token cannot be checked");
    Status::unavailable(format!("the API server cannot be asked about the token now, try again: {reason}"))
}

/// Who is meant by the answer to a review.
fn read(status: &TokenReviewStatus) -> Result<Workload, Status> {
    if status.authenticated != Some(true) {
        let why = status.error.as_deref().unwrap_or("it is unknown, expired, or of another audience");
        return Err(Status::unauthenticated(format!(
            "the API server does not vouch for the service account token: {why}"
        )));
    }
    // A server that knows nothing of audiences answers without one: the token may be for anybody.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(Status::unauthenticated(format!("the token is not for the audience `{AUDIENCE}`")));
    }
    let user = status.user.as_ref();
    let name = user.and_then(|user| user.username.as_deref()).unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return Err(Status::permission_denied(format!("`{name}` is no service account")));
    };
    let pod = user.and_then(|user| user.extra.as_ref()?.get(POD_NAME)?.first().cloned());
    Ok(Workload { namespace: namespace.to_owned(), service_account: service_account.to_owned(), name: pod })
}
