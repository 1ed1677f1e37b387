//! The root of trust in a Secret, shared by all replicas: made by the first that finds none, and followed when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use weft_model::identity::TrustDomain;

use super::{Waits, explain};
use crate::authority::{AuthorityError, CertificateAuthority, RootPem};

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;

/// Ours. Istio's comes first where it is there, so that a mesh can move over with its root.
const OWN: &str = "weft-ca";
const ISTIO: &str = "cacerts";
const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";
/// Between two tries while the API server does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server does not let us.
    #[error("cannot {action} Secret `{name}` in namespace `{namespace}`: {reason}")]
    Api {
        /// What was tried, such as `read`.
        action: &'static str,
        /// Of the Secret.
        name: &'static str,
        /// Of the Secret.
        namespace: String,
        /// What the API server says.
        reason: String,
    },
    /// It is no root.
    #[error("Secret `{name}` in namespace `{namespace}` has no {key}: {}", parts())]
    Incomplete {
        /// Of the Secret.
        name: &'static str,
        /// Of the Secret.
        namespace: String,
        /// What is not there.
        key: &'static str,
    },
    /// It is no root.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

fn parts() -> String {
    format!("it must have {CERTIFICATE}, {KEY} and {ROOTS}, and {CHAIN} for an intermediate")
}

/// Where the root is kept.
#[derive(Clone)]
pub struct AuthoritySecret {
    client: Client,
    namespace: String,
    name: &'static str,
}

impl std::fmt::Debug for AuthoritySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuthoritySecret").field(&self.place()).finish()
    }
}

impl AuthoritySecret {
    /// The root of the mesh, and where it is kept: Istio's Secret where there is one, else ours, which is made if need be.
    /// Waits while the API server does not answer.
    ///
    /// # Errors
    /// [`SecretError`]: the Secret may not be used, or what it holds is incomplete.
    pub async fn open(
        client: Client,
        namespace: &str,
        trust_domain: &TrustDomain,
    ) -> Result<(Self, RootPem), SecretError> {
        let at = |name| Self { client: client.clone(), namespace: namespace.to_owned(), name };
        loop {
            for place in [at(ISTIO), at(OWN)] {
                if let Some(secret) =
                    place.retrying("read", async || place.api().get_opt(place.name).await).await?
                {
                    let pem = place.read(&secret)?;
                    return Ok((place, pem));
                }
            }
            let own = at(OWN);
            let pem = RootPem::generate(&own.place(), trust_domain, SystemTime::now())?;
            let secret = own.secret(&pem);
            let created = async || {
                match own.api().create(&PostParams::default(), &secret).await {
                    Ok(_) => Ok(true),
                    // Another replica was first: its root is everybody's.
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if own.retrying("create", created).await? {
                tracing::info!(secret = own.name, namespace, %trust_domain, "made a new root of trust");
            }
        }
    }

    /// Takes over what is written into the Secret, for ever. Whatever happens to it, the root in use goes on until there is
    /// another good one.
    pub async fn follow(self, authority: Arc<CertificateAuthority>) {
        let mut versions = std::pin::pin!(watch_object(self.api(), self.name).backoff(Waits::default()));
        while let Some(version) = versions.next().await {
            let secret = match version {
                Ok(Some(secret)) => secret,
                Ok(None) => {
                    tracing::warn!(
                        secret = self.name,
                        "the root's Secret is gone; the root in use goes on, but a replica that starts now makes another"
                    );
                    continue;
                }
                Err(watcher::Error::NoResourceVersion) => continue,
                Err(error) => {
                    tracing::debug!(%error, secret = self.name, "the watch of the root's Secret has failed");
                    continue;
                }
            };
            let replaced =
                self.read(&secret).and_then(|pem| authority.replace_root(&pem).map_err(SecretError::from));
            match replaced {
                Ok(true) => tracing::info!(
                    secret = self.name,
                    "signing with a new root of trust; the former stays trusted"
                ),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the new root cannot be used; the one in use goes on"),
            }
        }
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn place(&self) -> String {
        format!("Secret `{}` in namespace `{}`", self.name, self.namespace)
    }

    fn read(&self, secret: &Secret) -> Result<RootPem, SecretError> {
        let part = |key: &'static str| {
            let data = secret.data.as_ref().and_then(|data| data.get(key));
            data.map(|value| value.0.clone()).filter(|value| !value.is_empty())
        };
        let required = |key: &'static str| {
            part(key).ok_or_else(|| SecretError::Incomplete {
                name: self.name,
                namespace: self.namespace.clone(),
                key,
            })
        };
        Ok(RootPem {
            place: self.place(),
            certificate: required(CERTIFICATE)?,
            key: required(KEY)?,
            chain: part(CHAIN).unwrap_or_default(),
            roots: required(ROOTS)?,
        })
    }

    fn secret(&self, pem: &RootPem) -> Secret {
        let data = [(CERTIFICATE, &pem.certificate), (KEY, &pem.key), (ROOTS, &pem.roots)];
        let labels = [("app.kubernetes.io/managed-by".to_owned(), super::FIELD_MANAGER.to_owned())];
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            type_: Some("weft.mesh/ca".to_owned()),
            data: Some(
                data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.clone()))).collect(),
            ),
            ..Secret::default()
        }
    }

    /// Tries until the API server says something: only its own word, such as "forbidden", is final.
    async fn retrying<T>(
        &self,
        action: &'static str,
        attempt: impl AsyncFn() -> Result<T, kube::Error>,
    ) -> Result<T, SecretError> {
        loop {
            let reason = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error @ kube::Error::Api(_)) if !is_passing(&error) => {
                    return Err(SecretError::Api {
                        action,
                        name: self.name,
                        namespace: self.namespace.clone(),
                        reason: explain(&error),
                    });
                }
                Err(error) => explain(&error),
            };
            tracing::warn!(%reason, secret = self.name, "cannot {action} the root of trust yet; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Whether the API server itself says that it may be otherwise in a moment.
fn is_passing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 429 || status.code >= 500)
}
