//! A mesh in a Kubernetes cluster: its objects are the API server's, its root of trust is in a Secret, and its sidecars prove
//! themselves with tokens of their service accounts. Nothing that matters is kept here, so that any number of replicas
//! serve the same mesh.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_model::clock::Clock;

use super::{Failure, Mesh, authority_settings, mesh_settings, monitor, serve, webhooks};
use crate::admin::Pages;
use crate::authority::{AcceptorSettings, Attestor, CertificateAuthority, RootSource};
use crate::kubernetes::{
    AuthoritySecret, LeaseSettings, TokenReviews, connect, publish_roots, stand, while_leading,
    write_statuses,
};
use crate::settings::{ClusterSettings, Settings};
use crate::source::kubernetes::{Kubernetes, KubernetesSettings};
use crate::source::set::Source;
use crate::state::MeshState;

/// Name of the Deployment, the Service and the service account.
const NAME: &str = "weft-control-plane";
/// How long giving the lead back may take.
const LEAVING: Duration = Duration::from_secs(3);

pub(super) async fn run(settings: Settings) -> Result<(), Failure> {
    let cluster = &settings.cluster;
    for (given, option) in [
        (settings.config_dir.is_some(), "--config-dir"),
        (settings.root_cert.is_some(), "--root-cert"),
        (settings.explicit, "--explicit"),
    ] {
        if given {
            return Err(format!(
                "{option} does not go with --kubernetes: a cluster holds its objects and its root itself"
            )
            .into());
        }
    }
    let pages = Arc::new(Pages::default());
    monitor(&settings, &pages).await?;
    let client = connect(cluster.kubeconfig.as_deref(), cluster.context.as_deref()).await?;
    let mesh = mesh_settings(&settings, &cluster.namespace);
    let source = Kubernetes::watch_cluster(
        client.clone(),
        KubernetesSettings {
            selectors: cluster.discovery_selectors.clone(),
            root_namespace: mesh.root_namespace.clone(),
        },
    );
    pages.watch_contact(source.contact());
    let (secret, root) =
        AuthoritySecret::open(client.clone(), &cluster.namespace, &settings.trust_domain).await?;
    let authority =
        CertificateAuthority::open(authority_settings(&settings, RootSource::Text(root)), Clock::system())?;
    tokio::spawn(secret.follow(authority.clone()));
    source.synced().await;

    let sources: Vec<&dyn Source> = vec![&source];
    let state = MeshState::of_sources(mesh, settings.networks(), &sources);
    let (stop, stopped) = watch::channel(false);
    let dns_names = dns_names(cluster, &settings.cluster_domain);
    let parts = webhooks::Parts {
        client: client.clone(),
        authority: authority.clone(),
        namespaces: source.namespaces(),
        state: state.clone(),
        dns_names: dns_names.clone(),
    };
    webhooks::start(cluster, parts, &pages, stopped.clone()).await?;
    let election = elect(cluster, &client, stopped);
    tokio::spawn(while_leading(election.leading.clone(), {
        let (client, authority, namespaces) = (client.clone(), authority.clone(), source.namespaces());
        move || publish_roots(client.clone(), authority.clone(), namespaces.clone())
    }));
    tokio::spawn(while_leading(election.leading.clone(), {
        let (client, statuses, state) = (client.clone(), source.statuses(), state.clone());
        move || write_statuses(client.clone(), statuses.clone(), state.clone())
    }));
    let mesh = Mesh {
        state,
        sources,
        authority,
        tokens: None,
        attestor: Attestor::ServiceAccountTokens(Arc::new(TokenReviews::new(client))),
        acceptor: AcceptorSettings {
            namespace: cluster.namespace.clone(),
            service_account: NAME.to_owned(),
            dns_names,
            ..AcceptorSettings::default()
        },
        discovery_address: Some(format!(
            "{}.{}.svc:{}",
            cluster.named(NAME),
            cluster.namespace,
            settings.listen_tls.port()
        )),
        pages,
    };
    let served = serve(&settings, mesh).await;
    // So that another replica leads at once.
    let _ = stop.send(true);
    let _ = tokio::time::timeout(LEAVING, election.ended).await;
    served
}

/// The election of a leader, among the replicas of all revisions: two leaders would write each its own view of the same
/// statuses, again and again.
struct Election {
    leading: watch::Receiver<bool>,
    ended: JoinHandle<()>,
}

fn elect(cluster: &ClusterSettings, client: &Client, leaving: watch::Receiver<bool>) -> Election {
    let host = || nix::unistd::gethostname().ok()?.into_string().ok();
    let name = cluster.pod_name.clone().or_else(host).unwrap_or_else(|| NAME.to_owned());
    // A pod of a StatefulSet that was made anew has the same name: it must not take its predecessor's lead for its own.
    let identity = format!("{name}_{:016x}", fastrand::u64(..));
    let lease = LeaseSettings::new(&cluster.namespace, NAME, &identity);
    let (sender, leading) = watch::channel(false);
    Election { leading, ended: tokio::spawn(stand(client.clone(), lease, sender, leaving)) }
}

/// The names of our Services: that of every revision, and that of this one.
fn dns_names(cluster: &ClusterSettings, domain: &str) -> Vec<String> {
    let namespace = &cluster.namespace;
    let mut services = vec![NAME.to_owned(), cluster.named(NAME)];
    services.dedup();
    let forms = |name: &String| {
        [
            name.clone(),
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.{domain}"),
        ]
    };
    services.iter().flat_map(forms).chain(["localhost".to_owned()]).collect()
}
