//! By an Envoy bootstrap: where resources come from that change, and the channel to the control plane.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use weft_model::bootstrap::{Bootstrap, ConfigSource};
use weft_model::cluster::{Cluster, Discovery as ClusterDiscovery, UpstreamTransport};
use weft_model::xds::Resource;
use weft_proto::type_url;
use weft_proto::xds::core;

use crate::discovery::{self, Discovery, DiscoverySettings, Protocol};
use crate::io::Io;
use crate::tls::{TlsContexts, server_name};

/// A control plane that vanished without a word is noticed within this and the time-out that follows.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served by a bootstrap; what changes is fetched for as long as the process lives.
pub(super) fn by_bootstrap(bootstrap: &Bootstrap, contexts: &Arc<TlsContexts>) -> io::Result<Discovery> {
    let dynamic = &bootstrap.dynamic;
    if dynamic.ads.is_none() && dynamic.listeners.is_none() && dynamic.clusters.is_none() {
        return Ok(Discovery::fixed(bootstrap.snapshot()));
    }
    let (discovery, client) = discovery::start(settings(bootstrap))?;
    match &dynamic.ads {
        Some(ads) => {
            let cluster = bootstrap.clusters.iter().find(|cluster| cluster.name == ads.cluster);
            let cluster =
                cluster.cloned().ok_or_else(|| io::Error::other("the cluster of ADS is not there"))?;
            let channel = channel(cluster, contexts.clone()).map_err(io::Error::other)?;
            tokio::spawn(client.run(channel));
        }
        None => drop(tokio::spawn(client.run_alone())),
    }
    Ok(discovery)
}

fn settings(bootstrap: &Bootstrap) -> DiscoverySettings {
    let mut asked = Vec::new();
    let mut files = Vec::new();
    let sources = [
        (type_url::CLUSTER, &bootstrap.dynamic.clusters),
        (type_url::LISTENER, &bootstrap.dynamic.listeners),
    ];
    for (url, source) in sources {
        match source {
            Some(ConfigSource::Ads) => asked.push(url),
            Some(ConfigSource::File { path, .. }) => files.push((url, path.clone())),
            None => {}
        }
    }
    let listeners = bootstrap.listeners.iter().cloned().map(Resource::Listener);
    let clusters = bootstrap.clusters.iter().cloned().map(Resource::Cluster);
    let delta = bootstrap.dynamic.ads.as_ref().is_none_or(|ads| ads.delta);
    DiscoverySettings {
        node: node(bootstrap),
        protocol: if delta { Protocol::Delta } else { Protocol::StateOfTheWorld },
        asked,
        files,
        fixed: listeners.chain(clusters).collect(),
        ..DiscoverySettings::default()
    }
}

fn node(bootstrap: &Bootstrap) -> core::Node {
    let own = &bootstrap.node;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    core::Node {
        id: own.id.clone(),
        cluster: own.cluster.clone(),
        metadata: Some(own.metadata.clone()),
        locality: Some(core::Locality {
            region: own.locality.region.to_string(),
            zone: own.locality.zone.to_string(),
            sub_zone: own.locality.sub_zone.to_string(),
        }),
        user_agent_name: "weft-proxy".to_owned(),
        user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(version)),
        ..Default::default()
    }
}

/// A channel to a cluster that connects when first used, and again whenever the connection is lost.
fn channel(cluster: Arc<Cluster>, contexts: Arc<TlsContexts>) -> Result<Channel, tonic::transport::Error> {
    // The name is nobody's host; it stands in `:authority`, as Envoy writes it there.
    let authority: String =
        cluster.name.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).collect();
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(Connector { cluster, contexts }))
}

/// Connects to one of a cluster's endpoints.
struct Connector {
    cluster: Arc<Cluster>,
    contexts: Arc<TlsContexts>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Io>>> + Send>>;

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<Io>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Connecting {
        let (cluster, contexts) = (self.cluster.clone(), self.contexts.clone());
        Box::pin(async move {
            let mut addresses = addresses(&cluster).await?;
            fastrand::shuffle(&mut addresses);
            let mut last = io::Error::other(format!("cluster {} has no endpoint", cluster.name));
            for address in addresses {
                let attempt =
                    tokio::time::timeout(cluster.connect_timeout, connect(&cluster, &contexts, address));
                match attempt.await {
                    Ok(Ok(io)) => return Ok(TokioIo::new(io)),
                    Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
                    Err(_) => last = io::Error::other(format!("{address}: no answer in time")),
                }
            }
            Err(last)
        })
    }
}

async fn addresses(cluster: &Cluster) -> io::Result<Vec<SocketAddr>> {
    match &cluster.discovery {
        ClusterDiscovery::Static(endpoints) => Ok(endpoints.endpoints().map(|it| it.address).collect()),
        ClusterDiscovery::Dns(hosts) => {
            let mut found = Vec::new();
            for (host, port) in hosts {
                found.extend(tokio::net::lookup_host((&**host, *port)).await?);
            }
            Ok(found)
        }
        _ => Err(io::Error::other(format!("cluster {} must be STATIC or DNS to be asked by", cluster.name))),
    }
}

async fn connect(cluster: &Cluster, contexts: &TlsContexts, address: SocketAddr) -> io::Result<Io> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match &cluster.transport {
        UpstreamTransport::Plain => Ok(stream.into()),
        UpstreamTransport::Context(context) => {
            let sni = Some(&*context.sni).filter(|sni| !sni.is_empty());
            let connected = contexts.connect(context, server_name(sni, address.ip()), stream).await;
            Ok(connected.map_err(io::Error::other)?.0.into())
        }
        UpstreamTransport::ByEndpoint(_) | UpstreamTransport::MutualTls(_) => {
            Err(io::Error::other("there is no identity of a mesh to be known by"))
        }
    }
}
