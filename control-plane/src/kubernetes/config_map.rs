//! One text in a ConfigMap, followed: how settings that may change reach a running control plane.

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use tokio::sync::watch;

use super::Waits;

/// The value of a key of a ConfigMap, now and after every change; none while it is not there. What was last known stays while
/// the API server is away. Must be called within a tokio runtime; the watch ends with the last receiver.
#[must_use]
pub fn follow_key(
    client: Client,
    namespace: &str,
    name: &str,
    key: &'static str,
) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut versions = std::pin::pin!(watch_object(api, &name).backoff(Waits::default()));
        loop {
            let version = tokio::select! {
                version = versions.next() => version,
                () = sender.closed() => return,
            };
            match version {
                Some(Ok(map)) => {
                    let text = map.and_then(|map| map.data).and_then(|mut data| data.remove(key));
                    sender.send_if_modified(|known| {
                        let changed = *known != text;
                        *known = text;
                        changed
                    });
                }
                Some(Err(error)) => tracing::debug!(%error, %name, "the watch of a ConfigMap has failed"),
                None => return,
            }
        }
    });
    receiver
}
