//! The root certificates in every namespace, as a ConfigMap that sidecars mount: the leader's work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};

use super::{FIELD_MANAGER, Waits, explain};
use crate::authority::CertificateAuthority;
use crate::source::kubernetes::Namespaces;

/// Its name, in every namespace.
pub const ROOT_CONFIG_MAP: &str = "weft-ca-root-cert";
/// Its key.
pub const ROOT_KEY: &str = "root-cert.pem";
/// Everything is looked at again after so long, and after a failure sooner.
const AGAIN: Duration = Duration::from_secs(300);
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Keeps the ConfigMap in every namespace that is read as it should be, for ever: also when somebody changes or deletes one.
pub async fn publish_roots(client: Client, authority: Arc<CertificateAuthority>, namespaces: Namespaces) {
    let (mut generations, mut names) = (authority.generations(), namespaces.watch());
    let all: Api<ConfigMap> = Api::all(client.clone());
    let only = watcher::Config::default().fields(&format!("metadata.name={ROOT_CONFIG_MAP}"));
    let mut events = std::pin::pin!(watcher(all, only).backoff(Waits::default()));
    let mut present: BTreeMap<String, String> = BTreeMap::new();
    let (mut listing, mut listed) = (BTreeMap::new(), false);
    loop {
        let mut wait = AGAIN;
        if listed {
            generations.mark_unchanged();
            let wanted = authority.trust_bundle_pem();
            let current = names.borrow_and_update().clone();
            for namespace in current.keys() {
                if present.get(&**namespace) == Some(&wanted) || !namespaces.is_read(namespace) {
                    continue;
                }
                match write(&client, namespace, &wanted).await {
                    Ok(()) => drop(present.insert(namespace.to_string(), wanted.clone())),
                    // A namespace that is going away takes nothing in.
                    Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                        tracing::debug!(%namespace, message = status.message, "no root certificates there");
                    }
                    Err(error) => {
                        tracing::warn!(%namespace, error = explain(&error), "the root certificates cannot be published");
                        wait = AFTER_FAILURE;
                        break;
                    }
                }
            }
        }
        tokio::select! {
            changed = generations.changed() => if changed.is_err() { return },
            changed = names.changed() => if changed.is_err() { return },
            event = events.next() => match event {
                Some(Ok(Event::Init)) => listing.clear(),
                Some(Ok(Event::InitApply(map))) => listing.extend(content(map)),
                Some(Ok(Event::InitDone)) => {
                    present = std::mem::take(&mut listing);
                    listed = true;
                }
                Some(Ok(Event::Apply(map))) => present.extend(content(map)),
                Some(Ok(Event::Delete(map))) => drop(present.remove(&map.metadata.namespace.unwrap_or_default())),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the watch of the root certificates has failed");
                    // Without knowing what is there it is written all the same.
                    listed = true;
                }
                None => return,
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Namespace and certificates of one that is there.
fn content(map: ConfigMap) -> Option<(String, String)> {
    Some((map.metadata.namespace?, map.data.and_then(|mut data| data.remove(ROOT_KEY)).unwrap_or_default()))
}

async fn write(client: &Client, namespace: &str, roots: &str) -> Result<(), kube::Error> {
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(ROOT_CONFIG_MAP.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(ROOT_KEY.to_owned(), roots.to_owned())])),
        ..ConfigMap::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(ROOT_CONFIG_MAP, &params, &Patch::Apply(&map)).await.map(drop)
}
