//! The story of a request that the workload sends.

use std::net::SocketAddr;
use std::rc::Rc;

use http::{HeaderValue, Method, Request, Response, header};
use weft_model::cluster::ClusterName;
use weft_model::route::{Forward, Route, RouteAction, RouteMatch};

use crate::body::Body;
use crate::error::ProxyError;
use crate::http::context::{ChosenRoute, RequestContext, UnderWay, facts};
use crate::http::downstream::Downstream;
use crate::http::{phases, tunnel};
use crate::upstream::OriginalDestination;

/// One request and its response.
pub async fn request(downstream: Rc<Downstream>, mut request: Request<Body>) -> Response<Body> {
    let mut context = Box::new(RequestContext::begin(&downstream, &request));
    let outcome = {
        let under_way = UnderWay { context: &mut context, request: &mut request };
        story(under_way.context, &downstream, under_way.request).await
    };
    phases::answer(context, outcome)
}

async fn story(
    context: &mut RequestContext,
    downstream: &Rc<Downstream>,
    request: &mut Request<Body>,
) -> Result<Response<Body>, ProxyError> {
    let forward_proxy = downstream.with_settings(|http| http.forward_proxy).unwrap_or_default();
    let routes = phases::routes(downstream)?;
    if request.method() == Method::CONNECT && forward_proxy && downstream.tunnel.is_none() {
        context.details = "via_upstream";
        return tunnel::open(downstream, &routes, request);
    }
    phases::refuse_connect(request, downstream)?;
    phases::normalise(request)?;
    let destination = destination(downstream, forward_proxy, request);
    phases::identify(context, request, downstream);
    let route = match (phases::choose_route(&routes, request, downstream.scheme), destination) {
        (Ok(route), _) => route,
        (Err(_), Destination::Address(_)) => passthrough(),
        (Err(error), Destination::Routed(_)) => {
            return Box::pin(phases::unrouted(context, request, error)).await;
        }
    };
    context.route = Some(route.clone());
    phases::act(context, &route, request, Some(destination.original())).await
}

/// Where a request goes if no route says otherwise.
#[derive(Clone, Copy)]
enum Destination {
    /// Only where a route says; the connection's original destination is for clusters that ask for it.
    Routed(OriginalDestination),
    /// To a forward proxy: to an address that the request names.
    Address(SocketAddr),
}

impl Destination {
    fn original(self) -> OriginalDestination {
        match self {
            Self::Routed(original) => original,
            Self::Address(address) => OriginalDestination::of(address),
        }
    }
}

fn destination(downstream: &Downstream, forward_proxy: bool, request: &mut Request<Body>) -> Destination {
    let connection = OriginalDestination {
        address: downstream.record().local,
        is_endpoint: !forward_proxy && downstream.is_headless(),
    };
    if !forward_proxy {
        return Destination::Routed(connection);
    }
    if let Some(authority) = &downstream.tunnel
        && let Ok(authority) = HeaderValue::try_from(&**authority)
    {
        // Whatever the client says inside, the tunnel leads to where it was opened to.
        request.headers_mut().insert(header::HOST, authority);
    }
    match address_of(facts(request, downstream.scheme).authority) {
        Some(address) => Destination::Address(address),
        None => Destination::Routed(connection),
    }
}

fn address_of(authority: &str) -> Option<SocketAddr> {
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    authority.parse().ok().or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 80)))
}

/// The rule for requests to an address that no service has: to that address, as it is.
fn passthrough() -> ChosenRoute {
    let action = RouteAction::Forward(Forward::to(ClusterName::PASSTHROUGH));
    ChosenRoute::only(Route {
        name: ClusterName::PASSTHROUGH.into(),
        ..Route::new(RouteMatch::any(), action)
    })
}
