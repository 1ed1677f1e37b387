//! Tells the API server whom to trust: the mesh's roots as `caBundle` of the webhooks' configurations. Every replica
//! does it; what is right already is left alone.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::authority::CertificateAuthority;

#[cfg(test)]
#[path = "configuration_tests.rs"]
mod tests;

const MANAGER: &str = "weft-control-plane";
/// How often the roots are compared with what was written: they change a few times in years, and overlap for long.
const LOOK: Duration = Duration::from_secs(10);

/// Names of the configurations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigurationNames {
    /// Of `/inject`.
    pub mutating: String,
    /// Of `/validate`.
    pub validating: String,
}

impl ConfigurationNames {
    /// Those of a revision: `weft-injector` and `weft-validator`, the former with the revision unless it is `default`.
    #[must_use]
    pub fn of_revision(revision: &str) -> Self {
        let suffix = if revision == "default" { String::new() } else { format!("-{revision}") };
        Self { mutating: format!("weft-injector{suffix}"), validating: "weft-validator".to_owned() }
    }
}

/// Keeps the bundles right, also when a configuration is made anew or the roots change, as long as it is polled.
pub async fn keep_ca_bundles(
    client: Client,
    names: ConfigurationNames,
    authority: Arc<CertificateAuthority>,
) {
    let mutating = keep::<MutatingWebhookConfiguration>(client.clone(), &names.mutating, &authority);
    let validating = keep::<ValidatingWebhookConfiguration>(client, &names.validating, &authority);
    tokio::join!(mutating, validating);
}

/// A configuration's webhooks: name and bundle of each.
trait Webhooks {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)>;
}

impl Webhooks for MutatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        let each = self.webhooks.iter().flatten();
        each.map(|webhook| (webhook.name.as_str(), bundle(webhook.client_config.ca_bundle.as_ref())))
            .collect()
    }
}

impl Webhooks for ValidatingWebhookConfiguration {
    fn bundles(&self) -> Vec<(&str, Option<&[u8]>)> {
        let each = self.webhooks.iter().flatten();
        each.map(|webhook| (webhook.name.as_str(), bundle(webhook.client_config.ca_bundle.as_ref())))
            .collect()
    }
}

fn bundle(bytes: Option<&ByteString>) -> Option<&[u8]> {
    bytes.map(|ByteString(bytes)| bytes.as_slice())
}

async fn keep<K>(client: Client, name: &str, authority: &CertificateAuthority)
where
    K: Webhooks + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::all(client);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = pin!(watcher(api.clone(), only).default_backoff().applied_objects());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last: Option<K> = None;
    loop {
        tokio::select! {
            next = seen.next() => match next {
                Some(Ok(configuration)) => last = Some(configuration),
                Some(Err(error)) => {
                    tracing::debug!(name, %error, "the webhook's configuration cannot be watched; trying again");
                    continue;
                }
                None => return,
            },
            _ = look.tick() => {}
        }
        let Some(configuration) = &last else { continue };
        let Some(patch) = patch(configuration, &authority.trust_bundle_pem()) else { continue };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(name, &params, &Patch::Strategic(patch)).await {
            Ok(patched) => {
                tracing::info!(name = patched.name_any(), "told the API server which roots to trust");
                last = Some(patched);
            }
            Err(error) => {
                tracing::warn!(name, %error, "the webhook's configuration could not be given its roots; trying again");
            }
        }
    }
}

/// What sets the bundle right; none when it is.
fn patch(configuration: &impl Webhooks, bundle: &str) -> Option<Value> {
    let wrong = configuration.bundles().into_iter().filter(|(_, own)| *own != Some(bundle.as_bytes()));
    let webhooks: Vec<Value> = wrong
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": STANDARD.encode(bundle)}}))
        .collect();
    (!webhooks.is_empty()).then(|| json!({"webhooks": webhooks}))
}
