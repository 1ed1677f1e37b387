//! Replaces `Host`, before the path is rewritten: an expression looks at the path as it came.

use http::{HeaderName, HeaderValue, Request, header};
use weft_model::route::{Forward, HostRewrite, WeightedCluster};

use crate::body::Body;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// As the weighted cluster says, else as the route does.
pub fn rewrite(forward: &Forward, cluster: &WeightedCluster, request: &mut Request<Body>) {
    let host = match (&cluster.host_rewrite, &forward.host_rewrite) {
        (Some(host), _) | (None, Some(HostRewrite::Literal(host))) => Some(host.clone()),
        (None, Some(HostRewrite::Header(name))) => {
            request.headers().get(name).filter(|host| !host.is_empty()).cloned()
        }
        (None, Some(HostRewrite::PathRegex(regex))) => {
            HeaderValue::from_str(&regex.replace(request.uri().path())).ok()
        }
        (None, None) => None,
    };
    let Some(host) = host else { return };
    let before = request.headers_mut().insert(header::HOST, host);
    let tell = forward.more.as_ref().is_some_and(|more| more.append_x_forwarded_host);
    if let (true, Some(before)) = (tell, before) {
        request.headers_mut().append(X_FORWARDED_HOST, before);
    }
}
