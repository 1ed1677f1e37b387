//! The application's probes, asked on its behalf.
//!
//! The kubelet is not of the mesh: where mutual TLS is demanded its probes could not reach the application. So the
//! injector has it ask here, at a port that interception leaves alone, and this asks the application from inside the
//! pod, as the kubelet would have: HTTP, HTTPS without verification, TCP, gRPC health. What is asked is fixed by
//! `WEFT_APP_PROBES`; nobody who can reach the port can have anything else asked.

mod grpc;
mod http;
mod server;
mod wanted;

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::http::{HeaderMap, StatusCode};

pub use server::{PORT, ProbeServer};
pub use wanted::{AppProbe, AppProbes, Handler, HttpGet};

/// What the kubelet is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The application's own, or one that stands for its answer.
    pub status: StatusCode,
    /// The beginning of what it said, for the pod's events.
    pub body: Vec<u8>,
}

impl Verdict {
    fn of(status: StatusCode, said: impl Into<String>) -> Self {
        Self { status, body: said.into().into_bytes() }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

/// Asks the application at `address`, the pod's own; `headers` are those of the kubelet's question.
pub async fn ask(probe: &AppProbe, address: IpAddr, headers: &HeaderMap) -> Verdict {
    let asking = async {
        match &probe.handler {
            Handler::Http(get) => http::ask(get, address, headers).await,
            Handler::Tcp { port } => tcp(SocketAddr::new(address, *port)).await,
            Handler::Grpc { port, service } => grpc::ask(SocketAddr::new(address, *port), service).await,
        }
    };
    let late = || Verdict::failed(format!("the application did not answer within {:?}", probe.timeout));
    tokio::time::timeout(probe.timeout, asking).await.unwrap_or_else(|_| late())
}

async fn tcp(address: SocketAddr) -> Verdict {
    match tokio::net::TcpStream::connect(address).await {
        Ok(_) => Verdict::of(StatusCode::OK, ""),
        Err(error) => Verdict::failed(format!("cannot connect to {address}: {error}")),
    }
}

/// Paths that the kubelet asks for, each with what is to be asked of the application.
type ByPath = BTreeMap<String, AppProbe>;

/// A probe that says nothing of it fails after a second, as the kubelet's do.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// A lifecycle hook is bounded by the pod's grace period, which is not known here; 30 s is its default.
const LIFECYCLE_TIMEOUT: Duration = Duration::from_secs(30);
