//! Changes to headers, as the route table, the virtual host, the route and the weighted cluster say. The order is Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers>):
//! the cluster's first, then from the route to the table, or the other way round where the table says so.

use http::{HeaderMap, Request, Response};
use weft_model::policy::HeaderMutations;
use weft_model::route::WeightedCluster;

use crate::body::Body;
use crate::http::context::{ChosenRoute, RequestContext};

/// Changes a request before it is sent.
pub fn request(
    context: &RequestContext,
    route: &ChosenRoute,
    cluster: &WeightedCluster,
    request: &mut Request<Body>,
) {
    change_request(context, &cluster.request_headers, request);
    let (host, table) = (&route.host().settings, &route.table().settings);
    let levels = [&route.request_headers, &host.request_headers, &table.request_headers];
    in_order(route, levels, |mutations| change_request(context, mutations, request));
}

/// Changes a response before it is returned; the weighted cluster's changes have been made.
pub fn response(context: &RequestContext, route: &ChosenRoute, response: &mut Response<Body>) {
    let (host, table) = (&route.host().settings, &route.table().settings);
    let levels = [&route.response_headers, &host.response_headers, &table.response_headers];
    in_order(route, levels, |mutations| change_response(context, mutations, response));
}

fn in_order(
    route: &ChosenRoute,
    mut levels: [&HeaderMutations; 3],
    mut change: impl FnMut(&HeaderMutations),
) {
    if route.table().most_specific_header_mutations_wins {
        levels.reverse();
    }
    levels.into_iter().for_each(&mut change);
}

/// Makes one set of changes to a request.
pub fn change_request(context: &RequestContext, mutations: &HeaderMutations, request: &mut Request<Body>) {
    if !mutations.is_empty() {
        mutations.apply(request.headers_mut(), |template, headers| {
            context.evaluate(template, headers, None, &HeaderMap::new())
        });
    }
}

/// Makes one set of changes to a response.
pub fn change_response(context: &RequestContext, mutations: &HeaderMutations, response: &mut Response<Body>) {
    if !mutations.is_empty() {
        let status = response.status();
        mutations.apply(response.headers_mut(), |template, headers| {
            context.evaluate(template, &context.headers, Some(status), headers)
        });
    }
}
