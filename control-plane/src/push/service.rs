//! The gRPC service `envoy.service.discovery.v3.AggregatedDiscoveryService`. Written out instead of generated, because
//! responses have a codec of their own: see [`super::wire`].

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body as TonicBody;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use weft_proto::xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::compiler::Compiler;
use super::server::Push;
use super::stream::{self, DiscoveryProtocol};
use super::wire::{DiscoveryCodec, Response as DiscoveryResponse};

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Whether the peers of a listener must have proved who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerRequirement {
    /// A stream without a verified identity ends with UNAUTHENTICATED.
    Identity,
    /// For a plaintext listener on loopback. An identity that is there is checked all the same.
    None,
}

/// Settings of the HTTP/2 transport that the streams need: a peer that vanished without a word is noticed within half a
/// minute, and streams live as long as their connection.
#[must_use]
pub fn transport(server: tonic::transport::Server) -> tonic::transport::Server {
    server
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .tcp_nodelay(true)
        .max_concurrent_streams(Some(100))
}

/// The service; clones share the server.
pub struct AggregatedDiscovery<C: Compiler> {
    push: Arc<Push<C>>,
    requirement: PeerRequirement,
}

impl<C: Compiler> AggregatedDiscovery<C> {
    pub(super) fn new(push: Arc<Push<C>>, requirement: PeerRequirement) -> Self {
        Self { push, requirement }
    }

    fn serve<P: DiscoveryProtocol, B>(
        &self,
        request: http::Request<B>,
    ) -> BoxFuture<http::Response<TonicBody>, Infallible>
    where
        B: Body + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        let limit = self.push.settings.limits.request_bytes;
        let stream = Stream::<C, P> { service: self.clone(), protocol: std::marker::PhantomData };
        Box::pin(async move {
            let codec = DiscoveryCodec::<P::Request>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
            Ok(grpc.streaming(stream, request).await)
        })
    }
}

impl<C: Compiler> Clone for AggregatedDiscovery<C> {
    fn clone(&self) -> Self {
        Self { push: self.push.clone(), requirement: self.requirement }
    }
}

impl<C: Compiler> fmt::Debug for AggregatedDiscovery<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatedDiscovery").field("requirement", &self.requirement).finish_non_exhaustive()
    }
}

impl<C: Compiler> NamedService for AggregatedDiscovery<C> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<C: Compiler, B> Service<http::Request<B>> for AggregatedDiscovery<C>
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<TonicBody>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match request.uri().path() {
            DELTA => self.serve::<DeltaDiscoveryRequest, B>(request),
            SOTW => self.serve::<DiscoveryRequest, B>(request),
            _ => Box::pin(async {
                Ok(Status::unimplemented("no such method of the discovery service").into_http())
            }),
        }
    }
}

struct Stream<C: Compiler, P> {
    service: AggregatedDiscovery<C>,
    protocol: std::marker::PhantomData<P>,
}

impl<C: Compiler, P: DiscoveryProtocol> StreamingService<P::Request> for Stream<C, P>
where
    P::Request: Message,
{
    type Response = DiscoveryResponse;
    type ResponseStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<P::Request>>) -> Self::Future {
        let AggregatedDiscovery { push, requirement } = self.service.clone();
        Box::pin(async move { stream::open::<C, P>(push, requirement, request).map(Response::new) })
    }
}
