//! `TelemetryService`: one stream a sidecar; each report is acknowledged.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use weft_model::identity::WorkloadIdentity;
use weft_model::node::ProxyId;
use weft_proto::telemetry::telemetry_service_server::TelemetryService;
use weft_proto::telemetry::{ReportRequest, ReportResponse};

use super::statistics::Statistics;

/// The gRPC service.
#[derive(Clone, Debug)]
pub struct ReportService(Arc<Statistics>);

impl ReportService {
    /// A service that counts into these statistics.
    #[must_use]
    pub fn new(statistics: Arc<Statistics>) -> Self {
        Self(statistics)
    }
}

#[tonic::async_trait]
impl TelemetryService for ReportService {
    type ReportStream = Pin<Box<dyn Stream<Item = Result<ReportResponse, Status>> + Send>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let identity = crate::authority::peer_identity(&request).map(|peer| peer.0);
        let statistics = self.0.clone();
        // A report is read when the answer to the one before has been taken: no queue.
        let answers = request.into_inner().map(move |report| {
            let report = report?;
            check(&report, identity.as_ref())?;
            Ok(statistics.ingest(&report))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A sidecar reports for its own workload only.
fn check(report: &ReportRequest, identity: Option<&WorkloadIdentity>) -> Result<(), Status> {
    let id: ProxyId = report.node.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    match identity {
        Some(identity) if *identity.namespace != *id.namespace => {
            let message = format!("a sidecar with the identity {identity} cannot report for `{id}`");
            Err(Status::permission_denied(message))
        }
        _ => Ok(()),
    }
}
