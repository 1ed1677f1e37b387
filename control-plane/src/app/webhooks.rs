//! The webhooks of a control plane in a cluster: their settings come from a ConfigMap, what they know from the source.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::sync::watch;

use super::Failure;
use super::listen::listen;
use crate::admin::Pages;
use crate::authority::CertificateAuthority;
use crate::inject::{InjectionValues, Injector};
use crate::kubernetes::follow_key;
use crate::settings::ClusterSettings;
use crate::source::kubernetes::Namespaces;
use crate::state::MeshState;
use crate::webhook::{self, ConfigurationNames, Events, Webhook, keep_ca_bundles};

/// Where `weft install` writes what sidecars are injected with; another revision's has that behind its name.
const CONFIG_MAP: &str = "weft-injection";
const VALUES: &str = "values";
/// How long the settings are waited for: pods must not be injected with others than the user's.
const SETTINGS_WAIT: Duration = Duration::from_secs(5);

/// What the webhooks are made of.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) authority: Arc<CertificateAuthority>,
    pub(super) namespaces: Namespaces,
    pub(super) state: Arc<MeshState>,
    /// Names that API servers verify.
    pub(super) dns_names: Vec<String>,
}

/// Serves the webhooks, if that is asked for, until `stopped`.
///
/// # Errors
/// When the address is taken.
pub(super) async fn start(
    cluster: &ClusterSettings,
    parts: Parts,
    pages: &Pages,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let Some(address) = cluster.webhook else { return Ok(()) };
    let listener = listen(address).await?;
    let Parts { client, authority, namespaces, state, dns_names } = parts;
    let values = InjectionValues::default().with_revision(&cluster.revision);
    let injector = Arc::new(Injector::new(values).map_err(|findings| told(&findings))?);
    let events = Events::to(client.clone());
    let settings = Settings {
        name: cluster.named(CONFIG_MAP),
        namespace: cluster.namespace.clone(),
        injector: injector.clone(),
        events: events.clone(),
    };
    settings.follow(&client).await;
    let webhook = Webhook::new(injector)
        .with_namespaces(move |name| namespaces.namespace_labels(name))
        .with_domain(state.world().load().mesh.domain.clone())
        .with_objects(move || state.objects().to_vec())
        .with_events(events);
    pages.count_webhooks(webhook.metrics().clone());
    let names = ConfigurationNames::of_revision(&cluster.revision);
    tokio::spawn(keep_ca_bundles(client, names, authority.clone()));
    tokio::spawn(async move {
        let ended = async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = webhook::serve(listener, authority, dns_names, Arc::new(webhook), ended).await {
            tracing::error!(%error, "the webhooks cannot be served");
        }
    });
    Ok(())
}

/// The ConfigMap that the injector follows.
struct Settings {
    name: String,
    namespace: String,
    injector: Arc<Injector>,
    events: Events,
}

impl Settings {
    /// Has the injector follow it. Returns when that has the first version, or there seems to be none.
    async fn follow(self, client: &Client) {
        let mut texts = follow_key(client.clone(), &self.namespace, &self.name, VALUES);
        if tokio::time::timeout(SETTINGS_WAIT, texts.wait_for(Option::is_some)).await.is_err() {
            tracing::warn!(config_map = %self.name, namespace = %self.namespace, "there are no settings of injection; the built-in ones are used until there are");
        }
        self.take(texts.borrow_and_update().as_deref());
        tokio::spawn(async move {
            while texts.changed().await.is_ok() {
                self.take(texts.borrow_and_update().as_deref());
            }
        });
    }

    /// What is wrong is told, and the former settings stay.
    fn take(&self, text: Option<&str>) {
        let Some(text) = text else { return };
        match self.injector.update(text) {
            Ok(()) => tracing::info!(config_map = %self.name, "settings of injection are in use"),
            Err(findings) => {
                for finding in &findings {
                    tracing::error!(config_map = %self.name, %finding, "settings of injection are refused; the former ones stay in use");
                }
                let message = format!("the former settings stay in use: {}", told(&findings));
                self.events.tell_of(self.reference(), "Warning", "SettingsRefused", &message);
            }
        }
    }

    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            ..ObjectReference::default()
        }
    }
}

fn told(findings: &[crate::source::Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
