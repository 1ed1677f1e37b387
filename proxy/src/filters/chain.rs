//! The filters of a listener, in the order of its configuration. One that has nothing to do costs a look at the route;
//! one that works is boxed, so that requests without it stay small.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use weft_model::filter::cors::CorsPolicy;
use weft_model::filter::ext_authz::{CheckSettings, ExtAuthz};
use weft_model::filter::local_rate_limit::LocalRateLimit;
use weft_model::filter::rbac::Rbac;
use weft_model::filter::{FilterConfig, HeaderEdits, HttpFilter, RouteFilter};
use weft_model::matcher::HeaderMatch;
use weft_model::policy::{Fault, HeaderMutations};
use weft_model::route::{RouteAction, WeightedCluster};

use super::{buffer, cors, ext_authz, fault, header_mutation, headers, health_check, local_rate_limit, rbac};
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
    /// Its headers change, as all of these say.
    Edits(Vec<Arc<HeaderEdits>>),
}

/// How a filter works for one request.
enum Working<'a> {
    Fault(&'a Fault),
    Cors(&'a CorsPolicy),
    Buffer(u32),
    HeaderMutation(&'a str, &'a Arc<HeaderEdits>),
    LocalRateLimit(&'a Arc<LocalRateLimit>),
    Rbac(&'a Rbac),
    HealthCheck(&'a [HeaderMatch]),
    ExtAuthz(&'a ExtAuthz, Option<&'a CheckSettings>),
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
        FilterConfig::Cors => match here {
            Some(RouteFilter::Cors(policy)) => Some(Working::Cors(policy)),
            _ => None,
        },
        FilterConfig::Buffer(everywhere) => Some(Working::Buffer(match here {
            Some(RouteFilter::Buffer(most)) => *most,
            _ => *everywhere,
        })),
        FilterConfig::HeaderMutation(edits) => Some(Working::HeaderMutation(&filter.name, edits)),
        FilterConfig::LocalRateLimit(everywhere) => Some(Working::LocalRateLimit(match here {
            Some(RouteFilter::LocalRateLimit(limit)) => limit,
            _ => everywhere,
        })),
        FilterConfig::Rbac(everywhere) => Some(Working::Rbac(match here {
            Some(RouteFilter::Rbac(rbac)) => rbac,
            _ => everywhere,
        })),
        FilterConfig::HealthCheck(headers) => Some(Working::HealthCheck(headers)),
        FilterConfig::ExtAuthz(authz) => Some(Working::ExtAuthz(
            authz,
            match here {
                Some(RouteFilter::ExtAuthz(settings)) => Some(&**settings),
                _ => None,
            },
        )),
    }
}

async fn one(working: Working<'_>, passage: &mut Passage<'_>) -> Option<Response<Body>> {
    match working {
        Working::Fault(fault) => fault::inject(fault, passage).await,
        Working::Cors(policy) => cors::decide(policy, passage),
        Working::Buffer(most) => buffer::hold(most, passage).await,
        Working::HeaderMutation(name, edits) => {
            header_mutation::change(name, edits, passage);
            None
        }
        Working::LocalRateLimit(limit) => local_rate_limit::decide(limit, passage),
        Working::Rbac(rbac) => rbac::decide(rbac, passage),
        Working::HealthCheck(headers) => health_check::decide(headers, passage),
        Working::ExtAuthz(authz, here) => ext_authz::decide(authz, here, passage).await,
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
            After::Edits(all) => header_mutation::change_response(context, &all, response),
        }
    }
}
