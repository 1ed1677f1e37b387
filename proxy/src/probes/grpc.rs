//! A probe by gRPC's health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use std::net::SocketAddr;

use http::StatusCode;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::Verdict;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    /// `ServingStatus`.
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `ServingStatus.SERVING`.
pub(super) const SERVING: i32 = 1;
/// The method.
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Asks for the health of a service; 200 when it serves, else 503.
pub(super) async fn ask(address: SocketAddr, service: &str) -> Verdict {
    match check(address, service).await {
        Ok(SERVING) => Verdict::of(StatusCode::OK, "SERVING"),
        Ok(status) => Verdict::failed(format!("the service `{service}` says {}", name(status))),
        Err(why) => Verdict::failed(why),
    }
}

async fn check(address: SocketAddr, service: &str) -> Result<i32, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| format!("cannot connect to {address}: {}", cause(&error)))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| format!("{address} is gone: {}", cause(&error)))?;
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    let codec: ProstCodec<HealthCheckRequest, HealthCheckResponse> = ProstCodec::default();
    let response = client.unary(request, PathAndQuery::from_static(CHECK), codec).await;
    let response = response.map_err(|status| match status.code() {
        tonic::Code::Unimplemented => {
            format!("{address} does not implement the gRPC health protocol (grpc.health.v1.Health)")
        }
        tonic::Code::NotFound => format!("{address} knows no service `{service}`"),
        code => format!("{address} answered {code:?}: {}", status.message()),
    })?;
    Ok(response.into_inner().status)
}

/// tonic's own text says only that it was the transport.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn name(status: i32) -> &'static str {
    match status {
        0 => "UNKNOWN",
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "something that the protocol does not know",
    }
}
