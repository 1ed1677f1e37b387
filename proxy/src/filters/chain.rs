//! The filters of a listener, in the order of its configuration. One that has nothing to do costs a look at the route;
//! one that works is boxed, so that requests without it stay small.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use weft_model::filter::{FilterConfig, HttpFilter, RouteFilter};
use weft_model::policy::{Fault, HeaderMutations};
use weft_model::route::{RouteAction, WeightedCluster};

use super::{fault, headers};
use crate::body::Body;
use crate::http::context::{ChosenRoute, RequestContext};
use crate::http::reply;

/// A request on its way through the filters.
pub struct Passage<'a> {
    /// What is known of it.
    pub context: &'a mut RequestContext,
    /// The rule that decides about it; none when no rule matches it.
    pub route: Option<&'a ChosenRoute>,
    /// Where it goes by that rule.
    pub cluster: Option<&'a WeightedCluster>,
    /// Itself.
    pub request: &'a mut Request<Body>,
}

/// What is done to the response, whoever answers. The last filter's comes first.
#[derive(Debug)]
pub enum After {
    /// Its headers change.
    Headers(Box<HeaderMutations>),
}

/// How a filter works for one request.
enum Working<'a> {
    Fault(&'a Fault),
}

/// Lets a request pass. What comes back is the answer of a filter that does not let it.
pub async fn pass(filters: &Arc<[HttpFilter]>, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    for filter in filters.iter() {
        let (route, cluster) = (passage.route, passage.cluster);
        let here = route.and_then(|route| route.filter(&filter.name, cluster));
        let Some(working) = working(filter, here, route) else { continue };
        if let Some(answer) = Box::pin(one(working, passage)).await {
            return Some(answer);
        }
    }
    None
}

/// What the filter has to do, if anything.
fn working<'a>(
    filter: &'a HttpFilter,
    here: Option<&'a RouteFilter>,
    route: Option<&'a ChosenRoute>,
) -> Option<Working<'a>> {
    match here {
        Some(RouteFilter::Disabled) => return None,
        None if filter.disabled => return None,
        _ => {}
    }
    match &filter.config {
        FilterConfig::Fault(everywhere) => {
            let fault = match here {
                Some(RouteFilter::Fault(fault)) => fault,
                _ => everywhere,
            };
            // Only what is sent on can fail.
            let sent_on = matches!(route?.action, RouteAction::Forward(_));
            (sent_on && !fault.is_inert()).then_some(Working::Fault(fault))
        }
    }
}

async fn one(working: Working<'_>, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    match working {
        Working::Fault(fault) => fault::inject(fault, passage).await,
    }
}

/// An answer of a filter's own.
pub(super) fn answer(
    context: &mut RequestContext,
    status: StatusCode,
    details: &'static str,
    text: &str,
) -> Response<Body> {
    context.details = details;
    reply::of_status(status, text, context.grpc)
}

/// Does to the response what filters want.
pub fn after(context: &mut RequestContext, response: &mut Response<Body>) {
    while let Some(after) = context.after.pop() {
        match after {
            After::Headers(mutations) => headers::change_response(context, &mutations, response),
        }
    }
}
