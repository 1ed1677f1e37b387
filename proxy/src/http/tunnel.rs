//! `CONNECT` through the forward proxy of explicit mode (RFC 9110, section 9.3.6).
//!
//! What is inside the tunnel is looked at: HTTP in plain text is served by the same routes as if the client had sent
//! absolute targets, so that gRPC clients, which know no other way to use a proxy, are governed too. Anything else is
//! passed on byte by byte.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use http::{Request, Response, StatusCode};
use tokio::io::AsyncReadExt;
use weft_model::cluster::ClusterName;
use weft_model::provenance::Provenance;
use weft_model::route::{RouteAction, RouteTable, WeightedCluster};

use super::downstream::Downstream;
use super::serve::{self, Codec};
use crate::body::Body;
use crate::error::{ErrorSource, Progress, ProxyError, ResponseFlag};
use crate::io::Io;
use crate::listener::sniff::{Http, http_version};
use crate::tcp;
use crate::upstream::OriginalDestination;

/// As long as Istio's protocol detection at most: a server inside may speak first.
const SNIFF_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens a tunnel to the target of `request`.
///
/// # Errors
/// No virtual host of the routes stands for it, and it is no address.
pub fn open(
    downstream: &Rc<Downstream>,
    table: &RouteTable,
    request: &Request<Body>,
) -> Result<Response<Body>, ProxyError> {
    let authority =
        request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let Some(raw) = raw_destination(table, &authority) else {
        return Err(ProxyError {
            fault: ErrorSource::Downstream,
            progress: Progress::Unprocessed,
            status: StatusCode::NOT_FOUND,
            flag: ResponseFlag::NoRouteFound,
            details: "route_not_found",
            message: format!(
                "no service of the mesh is called `{authority}`: route table {} has no virtual host for it",
                table.name
            ),
        });
    };
    let downstream = downstream.clone();
    let mut response = Response::new(Body::on_upgrade(move |io| tunnel(downstream, authority, raw, io)));
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

/// Where bytes go that are no HTTP.
struct RawDestination {
    clusters: Vec<WeightedCluster>,
    address: Option<SocketAddr>,
    provenance: Vec<Provenance>,
}

/// The destination of the last, the most general route; or the address itself.
fn raw_destination(table: &RouteTable, authority: &str) -> Option<RawDestination> {
    if let Some(host) = table.virtual_host(authority) {
        let forwards = host.routes.iter().rev().find_map(|route| match &route.action {
            RouteAction::Forward(forward) => Some((forward, route)),
            RouteAction::Redirect(_) | RouteAction::Respond(_) => None,
        });
        let (forward, route) = forwards?;
        return Some(RawDestination {
            clusters: forward.clusters.clone(),
            address: None,
            provenance: route.provenance.clone(),
        });
    }
    let address = authority.parse().ok()?;
    let clusters = vec![WeightedCluster::new(ClusterName::PASSTHROUGH, 1)];
    Some(RawDestination { clusters, address: Some(address), provenance: Vec::new() })
}

// Boxed: a tunnel serves connections that may open tunnels.
fn tunnel(
    downstream: Rc<Downstream>,
    authority: String,
    raw: RawDestination,
    io: Io,
) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        let (io, found) = look_inside(io).await;
        let codec = match found {
            Http::Is("h2c") => Codec::Http2,
            Http::Is(_) => Codec::Http1,
            Http::Partial | Http::No => {
                let record = downstream.record().as_ref().clone();
                let destination = tcp::Destination {
                    clusters: &raw.clusters,
                    original: raw.address.map(OriginalDestination::of),
                    provenance: &raw.provenance,
                    idle_timeout: None,
                    hash_source_ip: false,
                    metadata_match: None,
                };
                return tcp::proxy(&downstream.worker, &destination, record, io).await;
            }
        };
        let inside = Rc::new(downstream.within_tunnel(&authority));
        serve::connection(io, codec, inside).await;
    })
}

async fn look_inside(mut io: Io) -> (Io, Http) {
    let mut read = Vec::with_capacity(2048);
    let looking = async {
        loop {
            let found = http_version(&read, read.len() >= 16 * 1024);
            if found != Http::Partial {
                return found;
            }
            match io.read_buf(&mut read).await {
                Ok(length) if length > 0 => {}
                _ => return Http::No,
            }
        }
    };
    let found = tokio::time::timeout(SNIFF_TIMEOUT, looking).await.unwrap_or(Http::No);
    (io.with_prefix(read), found)
}
