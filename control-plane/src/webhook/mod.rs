//! The admission webhooks, HTTPS on 15017: `/inject` gives pods their sidecar, `/validate` refuses policy with
//! mistakes before it is stored, by the parser and the review that the compiler and `weft apply` use.
//!
//! [`Webhook`] answers reviews, [`serve`] is its server, [`keep_ca_bundles`] tells the API server whom to trust.

mod configuration;
mod events;
mod inject;
mod metrics;
mod review;
mod server;
mod validate;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

pub use configuration::{ConfigurationNames, keep_ca_bundles};
pub use events::Events;
pub use metrics::WebhookMetrics;
pub use server::{MAX_BODY, serve};

use crate::inject::Injector;
use crate::source::words::Labels;
use crate::source::{Finding, Object};
use review::{Response, Review};

/// The labels of a namespace; `None` when it is not known.
pub type NamespaceLabels = dyn Fn(&str) -> Option<Labels> + Send + Sync;
/// The objects in force, that a new one is reviewed beside.
pub type ObjectsInForce = dyn Fn() -> Vec<Arc<Object>> + Send + Sync;

/// Answers reviews.
pub struct Webhook {
    injector: Arc<Injector>,
    namespaces: Box<NamespaceLabels>,
    objects: Box<ObjectsInForce>,
    /// The mesh's DNS suffix.
    domain: Arc<str>,
    events: Events,
    metrics: WebhookMetrics,
}

impl Webhook {
    /// With nothing known of the cluster: the selectors of the webhook's configuration are believed.
    #[must_use]
    pub fn new(injector: Arc<Injector>) -> Self {
        Self {
            injector,
            namespaces: Box::new(|_| None),
            objects: Box::new(Vec::new),
            domain: "cluster.local".into(),
            events: Events::none(),
            metrics: WebhookMetrics::default(),
        }
    }

    /// Knows the labels of namespaces.
    #[must_use]
    pub fn with_namespaces(
        mut self,
        labels: impl Fn(&str) -> Option<Labels> + Send + Sync + 'static,
    ) -> Self {
        self.namespaces = Box::new(labels);
        self
    }

    /// Knows the objects in force.
    #[must_use]
    pub fn with_objects(mut self, objects: impl Fn() -> Vec<Arc<Object>> + Send + Sync + 'static) -> Self {
        self.objects = Box::new(objects);
        self
    }

    /// Knows the mesh's DNS suffix; `cluster.local` without this.
    #[must_use]
    pub fn with_domain(mut self, domain: Arc<str>) -> Self {
        self.domain = domain;
        self
    }

    /// Tells of denials and of pods left out.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &WebhookMetrics {
        &self.metrics
    }

    /// The answer to what was posted to a path: a body for status 200.
    ///
    /// # Errors
    /// When the path does not exist or the body is no review that could be answered: HTTP status and text.
    pub fn answer(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, (u16, String)> {
        let begun = Instant::now();
        let handle: fn(&Self, &Review) -> Response = match path {
            "/inject" => inject::answer,
            "/validate" => validate::answer,
            _ => return Err((404, format!("there is no `{path}` here: /inject and /validate\n"))),
        };
        let response = match review::read(body) {
            Ok(review) => handle(self, &review),
            Err(review::Unreadable { uid: Some(uid), message }) => {
                self.metrics.malformed.inc();
                Response::denied(&uid, 400, "BadRequest", message)
            }
            Err(review::Unreadable { uid: None, message }) => {
                self.metrics.malformed.inc();
                return Err((400, format!("{message}\n")));
            }
        };
        self.metrics.observe(path, begun.elapsed());
        Ok(response.to_json())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("injector", &self.injector).finish_non_exhaustive()
    }
}

/// Findings as one text for `kubectl`: one a line.
fn lines<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let line = |finding: &Finding| {
        let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
        let hint = if finding.hint.is_empty() { String::new() } else { format!(" ({})", finding.hint) };
        format!("{field}{}{hint}", finding.message)
    };
    findings.map(line).collect::<Vec<_>>().join("\n")
}
