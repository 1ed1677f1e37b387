//! Changes headers in the place of the filter: the listener's first, then those of all levels of the route
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/header_mutation_filter>).

use std::sync::Arc;

use http::Response;
use weft_model::filter::{HeaderEdit, HeaderEdits, RouteFilter};

use super::chain::{After, Passage};
use super::headers;
use crate::body::Body;
use crate::http::context::RequestContext;

/// All that apply to a request, in order.
pub(super) fn change(name: &str, everywhere: &Arc<HeaderEdits>, passage: &mut Passage<'_>) {
    let mut all = vec![everywhere.clone()];
    if let Some(route) = passage.route {
        let levels = route.filters(name, passage.cluster);
        let mut of_levels: Vec<_> = levels
            .into_iter()
            .filter_map(|level| match level {
                Some(RouteFilter::HeaderMutation(edits)) => Some(edits.clone()),
                _ => None,
            })
            .collect();
        if everywhere.most_specific_wins {
            of_levels.reverse();
        }
        all.extend(of_levels);
    }
    for HeaderEdit(mutations) in all.iter().flat_map(|edits| &edits.request) {
        headers::change_request(passage.context, mutations, passage.request);
    }
    if all.iter().any(|edits| !edits.response.is_empty()) {
        passage.context.after.push(After::Edits(all));
    }
}

/// Changes the response.
pub(super) fn change_response(
    context: &RequestContext,
    all: &[Arc<HeaderEdits>],
    response: &mut Response<Body>,
) {
    for HeaderEdit(mutations) in all.iter().flat_map(|edits| &edits.response) {
        headers::change_response(context, mutations, response);
    }
}
