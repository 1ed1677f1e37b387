//! What is at which path.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::metrics;
use crate::compile::WorldCompiler;
use crate::push::Push;
use crate::state::MeshState;

/// Pages and what they show.
pub struct Pages {
    state: Arc<MeshState>,
    push: Arc<Push<WorldCompiler>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

const INDEX: &str = "\
/healthz            the process answers
/ready              the first world was built; sidecars are served
/metrics            Prometheus
/debug/world        services and workloads
/debug/findings     what is wrong with objects
";

impl Pages {
    /// Pages about a state and its sidecars.
    #[must_use]
    pub fn new(state: Arc<MeshState>, push: Arc<Push<WorldCompiler>>) -> Self {
        Self { state, push }
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX.to_owned()),
            // A world is there before the listener is, so both say the same.
            "/healthz" | "/ready" => text(StatusCode::OK, "ok\n".to_owned()),
            "/metrics" => metrics::page(&self.state, &self.push),
            "/debug/world" => text(StatusCode::OK, self.world()),
            "/debug/findings" => {
                let findings = self.state.findings();
                text(StatusCode::OK, findings.iter().map(|finding| format!("{finding}\n")).collect())
            }
            path => text(StatusCode::NOT_FOUND, format!("nothing is at {path}; there are:\n{INDEX}")),
        }
    }

    fn world(&self) -> String {
        let world = self.state.world().load_full();
        let mut page =
            format!("revision {} (configuration {})\n\nservices\n", world.revision, world.configuration);
        for service in world.services.values() {
            let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
            page.push_str(&format!("  {} {:?} ports {}\n", service.host, service.addresses, ports.join(",")));
        }
        page.push_str("\nworkloads\n");
        for workload in world.workloads.values() {
            let (name, namespace) = (&workload.name, &workload.namespace);
            page.push_str(&format!("  {name}.{namespace} {} {:?}\n", workload.address, workload.health));
        }
        page
    }
}

pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
