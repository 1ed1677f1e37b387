//! What is at which path.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::metrics;
use crate::compile::WorldCompiler;
use crate::push::Push;
use crate::source::kubernetes::Contact;
use crate::state::MeshState;
use crate::webhook::WebhookMetrics;

/// Pages and what they show. They can be served before there is a mesh: then they say so.
#[derive(Default)]
pub struct Pages {
    mesh: OnceLock<Served>,
    contact: OnceLock<Contact>,
    webhooks: OnceLock<WebhookMetrics>,
    leaving: AtomicBool,
}

/// What the pages are about.
pub(super) struct Served {
    pub(super) state: Arc<MeshState>,
    pub(super) push: Arc<Push<WorldCompiler>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

const INDEX: &str = "\
/live, /healthz     the process answers
/ready              the first world was built; sidecars are served
/metrics            Prometheus
/debug/world        services and workloads
/debug/findings     what is wrong with objects
";

impl Pages {
    /// Shows a state and its sidecars from now on; of several the first.
    pub fn serve_mesh(&self, state: Arc<MeshState>, push: Arc<Push<WorldCompiler>>) {
        let _ = self.mesh.set(Served { state, push });
    }

    /// Shows how old what is known of a cluster is.
    pub fn watch_contact(&self, contact: Contact) {
        let _ = self.contact.set(contact);
    }

    /// Shows what the webhooks count.
    pub fn count_webhooks(&self, metrics: WebhookMetrics) {
        let _ = self.webhooks.set(metrics);
    }

    /// Says from now on that others are to be asked.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// What is at a path for a peer: pages about users' objects are for this machine only.
    pub(super) fn answer<B>(&self, request: &Request<B>, peer: IpAddr) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
        }
        let path = request.uri().path();
        let nothing = || text(StatusCode::NOT_FOUND, format!("nothing is at {path}; there are:\n{INDEX}"));
        match path {
            "/live" | "/healthz" => return text(StatusCode::OK, "ok\n".to_owned()),
            "/ready" => return self.ready(),
            "/metrics" => {}
            _ if !peer.to_canonical().is_loopback() => {
                return text(
                    StatusCode::NOT_FOUND,
                    format!("nothing is at {path} for other machines: forward a port and ask there\n"),
                );
            }
            "/" => return text(StatusCode::OK, INDEX.to_owned()),
            _ => {}
        }
        let Some(served) = self.mesh.get() else { return self.ready() };
        match path {
            "/metrics" => metrics::page(served, self.contact.get(), self.webhooks.get()),
            "/debug/world" => text(StatusCode::OK, world(&served.state)),
            "/debug/findings" => {
                let findings = served.state.findings();
                text(StatusCode::OK, findings.iter().map(|finding| format!("{finding}\n")).collect())
            }
            _ => nothing(),
        }
    }

    /// A control plane that has lost its API server goes on serving what it knows: it is ready.
    fn ready(&self) -> Response<Full<Bytes>> {
        if self.leaving.load(Ordering::Relaxed) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "leaving\n".to_owned());
        }
        if self.mesh.get().is_some() {
            return text(StatusCode::OK, "ok\n".to_owned());
        }
        let problem = self.contact.get().and_then(Contact::problem);
        let waiting = problem.map_or_else(
            || "the first world is not built yet\n".to_owned(),
            |problem| format!("waiting for the API server: {problem}\n"),
        );
        text(StatusCode::SERVICE_UNAVAILABLE, waiting)
    }
}

fn world(state: &MeshState) -> String {
    let world = state.world().load_full();
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

pub(super) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
