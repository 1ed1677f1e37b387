//! A scripted xDS server of the incremental protocol: sends what a test says, and sees what a proxy says, message by
//! message. The counterpart of [`xds_client`](crate::xds_client), for tests in which the proxy is on trial.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use weft_model::xds::Resource;
use weft_proto::xds::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_proto::xds::discovery::{
    self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback, in plaintext; ends when dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    streams: mpsc::UnboundedReceiver<ScriptedStream>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// On a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (opened, streams) = mpsc::unbounded_channel();
        let server = Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(Service { opened }))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { drop(server.await) });
        Ok(Self { address, streams, task })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next stream that a proxy opens.
    ///
    /// # Errors
    /// When none is opened in time.
    pub async fn accept(&mut self) -> io::Result<ScriptedStream> {
        let stream = timeout(PATIENCE, self.streams.recv()).await?;
        stream.ok_or_else(|| io::Error::other("the server has ended"))
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's end of a stream; dropped, it ends the stream as a server does that leaves in order.
#[derive(Debug)]
pub struct ScriptedStream {
    requests: Streaming<DeltaDiscoveryRequest>,
    // Came while something else was waited for.
    put_off: VecDeque<DeltaDiscoveryRequest>,
    answers: mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>,
    nonce: u64,
}

impl ScriptedStream {
    /// The next request.
    ///
    /// # Errors
    /// When none comes in time, or the proxy ended the stream.
    pub async fn next(&mut self) -> io::Result<DeltaDiscoveryRequest> {
        if let Some(request) = self.put_off.pop_front() {
            return Ok(request);
        }
        self.receive().await
    }

    /// The next request that fits; others are left for later.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn find(
        &mut self,
        fits: impl Fn(&DeltaDiscoveryRequest) -> bool,
    ) -> io::Result<DeltaDiscoveryRequest> {
        if let Some(at) = self.put_off.iter().position(&fits)
            && let Some(request) = self.put_off.remove(at)
        {
            return Ok(request);
        }
        loop {
            let request = self.receive().await?;
            if fits(&request) {
                return Ok(request);
            }
            self.put_off.push_back(request);
        }
    }

    /// The next request that asks for something of a type, or no longer asks.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn subscription(&mut self, type_url: &str) -> io::Result<DeltaDiscoveryRequest> {
        self.find(|request| request.type_url == type_url && request.response_nonce.is_empty()).await
    }

    /// Sends resources, each in version `version`, and waits for the word on them: what was refused, if anything.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn push(&mut self, resources: &[Resource], version: &str) -> io::Result<Option<String>> {
        let nonce = self.offer(resources, version);
        self.word(&nonce).await
    }

    /// Sends resources, each in version `version`; answers the nonce under which the word on them comes. That on
    /// listeners and routes comes when they are served, which may be after what they refer to was sent.
    pub fn offer(&mut self, resources: &[Resource], version: &str) -> String {
        let type_url = resources.first().map(Resource::type_url).unwrap_or_default();
        let resources = resources.iter().map(|resource| delivered(resource, version)).collect();
        self.send(DeltaDiscoveryResponse { type_url: type_url.to_owned(), resources, ..Default::default() })
    }

    /// Waits for the word on an answer: what was refused, if anything.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn word(&mut self, nonce: &str) -> io::Result<Option<String>> {
        let word = self.find(|request| request.response_nonce == nonce).await?;
        Ok(word.error_detail.map(|status| status.message))
    }

    /// Removes resources and waits for the word on it.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn remove(&mut self, type_url: &str, names: &[&str]) -> io::Result<Option<String>> {
        let removed_resources = names.iter().map(|name| (*name).to_owned()).collect();
        self.exchange(DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            removed_resources,
            ..Default::default()
        })
        .await
    }

    /// Sends an answer under a nonce of its own and waits for the word on it.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn exchange(&mut self, answer: DeltaDiscoveryResponse) -> io::Result<Option<String>> {
        let nonce = self.send(answer);
        self.word(&nonce).await
    }

    /// Sends an answer under a nonce of its own, which is given back.
    pub fn send(&mut self, mut answer: DeltaDiscoveryResponse) -> String {
        self.nonce += 1;
        answer.nonce = format!("nonce-{}", self.nonce);
        let nonce = answer.nonce.clone();
        // A stream that the proxy has ended shows when it is read.
        let _ = self.answers.send(Ok(answer));
        nonce
    }

    /// Ends the stream with an error.
    pub fn fail(self, status: Status) {
        let _ = self.answers.send(Err(status));
    }

    async fn receive(&mut self) -> io::Result<DeltaDiscoveryRequest> {
        let request = timeout(PATIENCE, self.requests.message()).await?;
        request
            .map_err(io::Error::other)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the proxy has ended the stream"))
    }
}

/// A resource as it travels, in a version.
#[must_use]
pub fn delivered(resource: &Resource, version: &str) -> discovery::Resource {
    discovery::Resource {
        name: resource.name().to_owned(),
        version: version.to_owned(),
        resource: Some(resource.encode()),
        ..Default::default()
    }
}

struct Service {
    opened: mpsc::UnboundedSender<ScriptedStream>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the incremental protocol is scripted"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (answers, queue) = mpsc::unbounded_channel();
        let requests = request.into_inner();
        let stream = ScriptedStream { requests, put_off: VecDeque::new(), answers, nonce: 0 };
        self.opened.send(stream).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(queue))))
    }
}
