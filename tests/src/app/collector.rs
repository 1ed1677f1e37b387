//! A collector of traces over OTLP/gRPC: prints one line a span.

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|it| it.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|it| it.key == "service.name");
            let service = match service.and_then(|it| it.value?.value) {
                Some(Value::StringValue(name)) => name,
                _ => "?".to_owned(),
            };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let (trace, id) = (hex(&span.trace_id), hex(&span.span_id));
                let (kind, parent) = (span.kind().as_str_name(), hex(&span.parent_span_id));
                println!(
                    "span {kind} of {service}: trace={trace} id={id} parent={parent} name={}",
                    span.name
                );
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Collects until dropped.
pub(super) async fn serve(listener: TcpListener) {
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector));
    if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
        eprintln!("the collector ended: {error}");
    }
}
