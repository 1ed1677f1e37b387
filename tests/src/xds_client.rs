//! A scripted xDS client: sends what a test says, and sees what the server says, message by message. The other half of
//! a protocol test, and a stand-in for a proxy where only its control plane is on trial.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use weft_proto::xds::Status as RpcStatus;
use weft_proto::xds::core::Node;
use weft_proto::xds::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_proto::xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A type that no server serves.
const NO_TYPE: &str = "type.googleapis.com/weft.test.Nothing";

/// A node with this workload's name, in namespace `default`.
#[must_use]
pub fn node(workload: &str) -> Node {
    let id = format!("sidecar~10.0.0.1~{workload}.default~default.svc.cluster.local");
    Node { id, ..Node::default() }
}

/// A connection to an xDS server in plaintext.
///
/// # Errors
/// When nobody answers at the address.
pub async fn connect(address: SocketAddr) -> io::Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    endpoint.connect().await.map_err(io::Error::other)
}

/// A stream of the incremental protocol.
#[derive(Debug)]
pub struct DeltaClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
}

impl DeltaClient {
    /// Opens a stream; the node goes with the first request.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn open(channel: Channel, node: Option<Node>) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(64);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.delta_aggregated_resources(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, responses, node })
    }

    /// Sends a request.
    pub async fn send(&mut self, mut request: DeltaDiscoveryRequest) {
        if request.node.is_none() {
            request.node = self.node.take();
        }
        // A stream that the server closed shows in `next`.
        let _ = self.requests.send(request).await;
    }

    /// Subscribes and unsubscribes.
    pub async fn change(&mut self, type_url: &str, subscribe: &[&str], unsubscribe: &[&str]) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names(subscribe),
            resource_names_unsubscribe: names(unsubscribe),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// Comes back to a type with what an earlier stream brought.
    pub async fn resume(&mut self, type_url: &str, subscribe: &[&str], versions: &BTreeMap<String, String>) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: subscribe.iter().map(|name| (*name).to_owned()).collect(),
            initial_resource_versions: versions.clone().into_iter().collect(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// The next response, without answering it.
    ///
    /// # Errors
    /// The status with which the server closed the stream; DEADLINE_EXCEEDED when nothing came.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        next(&mut self.responses).await
    }

    /// The next response, acknowledged.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn take(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let response = self.next().await?;
        self.answer(&response, None).await;
        Ok(response)
    }

    /// Acknowledges, or refuses with a message.
    pub async fn answer(&mut self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(refusal),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// Whether the server has nothing to say: asks for a type that no server knows, which is answered last.
    pub async fn is_silent(&mut self) -> bool {
        self.change(NO_TYPE, &[], &[]).await;
        self.next().await.is_ok_and(|response| response.type_url == NO_TYPE)
    }
}

/// Names of the resources in a response, in its order.
#[must_use]
pub fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

/// A stream of the state-of-the-world protocol.
#[derive(Debug)]
pub struct SotwClient {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    node: Option<Node>,
    /// Per type: the names asked for, the version last accepted.
    types: BTreeMap<String, (Vec<String>, String)>,
}

impl SotwClient {
    /// Opens a stream; the node goes with the first request.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn open(channel: Channel, node: Option<Node>) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(64);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.stream_aggregated_resources(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, responses, node, types: BTreeMap::new() })
    }

    /// Sends a request.
    pub async fn send(&mut self, mut request: DiscoveryRequest) {
        if request.node.is_none() {
            request.node = self.node.take();
        }
        let _ = self.requests.send(request).await;
    }

    /// Asks for names of a type; `nonce` is that of its last response, empty at first.
    pub async fn ask(&mut self, type_url: &str, names: &[&str], nonce: &str) {
        let entry = self.types.entry(type_url.to_owned()).or_default();
        entry.0 = names.iter().map(|name| (*name).to_owned()).collect();
        let request = DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: entry.0.clone(),
            version_info: entry.1.clone(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// Pretends to have accepted a version on an earlier stream.
    pub fn remember(&mut self, type_url: &str, version: &str) {
        version.clone_into(&mut self.types.entry(type_url.to_owned()).or_default().1);
    }

    /// The next response, without answering it.
    ///
    /// # Errors
    /// The status with which the server closed the stream; DEADLINE_EXCEEDED when nothing came.
    pub async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        next(&mut self.responses).await
    }

    /// The next response, acknowledged.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn take(&mut self) -> Result<DiscoveryResponse, Status> {
        let response = self.next().await?;
        self.answer(&response, None).await;
        Ok(response)
    }

    /// Acknowledges, or refuses with a message.
    pub async fn answer(&mut self, response: &DiscoveryResponse, error: Option<&str>) {
        let entry = self.types.entry(response.type_url.clone()).or_default();
        if error.is_none() {
            entry.1.clone_from(&response.version_info);
        }
        let request = DiscoveryRequest {
            type_url: response.type_url.clone(),
            resource_names: entry.0.clone(),
            version_info: entry.1.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(refusal),
            ..DiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// Whether the server has nothing to say: asks for a type that no server knows, which is answered last.
    pub async fn is_silent(&mut self) -> bool {
        self.ask(NO_TYPE, &[], "").await;
        self.next().await.is_ok_and(|response| response.type_url == NO_TYPE)
    }
}

fn refusal(message: &str) -> RpcStatus {
    RpcStatus {
        code: tonic::Code::InvalidArgument as i32,
        message: message.to_owned(),
        ..RpcStatus::default()
    }
}

async fn next<T>(responses: &mut Streaming<T>) -> Result<T, Status> {
    match timeout(PATIENCE, responses.message()).await {
        Ok(message) => {
            message?.ok_or_else(|| Status::cancelled("the server ended the stream without a status"))
        }
        Err(_) => Err(Status::deadline_exceeded("the server said nothing")),
    }
}
