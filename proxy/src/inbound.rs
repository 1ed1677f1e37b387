//! The story of a request that comes to the workload.

use std::rc::Rc;

use http::{Request, Response};

use crate::body::Body;
use crate::error::ProxyError;
use crate::filters::client_certificate;
use crate::http::context::{RequestContext, UnderWay};
use crate::http::downstream::Downstream;
use crate::http::phases;
use crate::upstream::OriginalDestination;
use crate::upstream::peer::{self, X_WEFT_PEER};

/// One request and its response.
pub async fn request(downstream: Rc<Downstream>, mut request: Request<Body>) -> Response<Body> {
    let mut context = Box::new(RequestContext::begin(&downstream, &request));
    context.to_sidecar = downstream.record().peer_identity.is_some();
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
    note_peer(context, downstream, request);
    phases::refuse_connect(request, downstream)?;
    phases::normalise(request)?;
    client_certificate::forward(request.headers_mut(), downstream.client_certificate.as_ref());
    phases::identify(context, request, downstream);
    let routes = phases::routes(downstream)?;
    let route = match phases::choose_route(&routes, request, downstream.scheme) {
        Ok(route) => route,
        Err(error) => return Box::pin(phases::unrouted(context, request, error)).await,
    };
    context.route = Some(route.clone());
    let destination = Some(OriginalDestination::of(downstream.record().local));
    phases::act(context, &route, request, destination).await
}

/// The client's sidecar says on the first request of a connection which workload it serves. That is believed only of
/// the namespace that it has proven to be of, and never shown to the workload.
fn note_peer(context: &mut RequestContext, downstream: &Downstream, request: &mut Request<Body>) {
    let Some(told) = request.headers_mut().remove(X_WEFT_PEER) else { return };
    let record = downstream.record();
    let Some(identity) = &record.peer_identity else { return };
    if record.peer_workload.is_some() {
        return;
    }
    match peer::decode(&told) {
        Some(workload) if workload.namespace == identity.namespace => {
            downstream.amend_record(|record| record.peer_workload = Some(workload.into()));
            context.refresh_connection();
        }
        _ => {
            tracing::warn!(client = %record.remote, %identity, "ignored {X_WEFT_PEER}: it does not fit the identity")
        }
    }
}
