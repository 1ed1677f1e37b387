use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weft_model::endpoint::WorkloadInfo;
use weft_model::filter::FilterOverrides;
use weft_model::matcher::PathMatch;
use weft_model::policy::{Fault, Fraction};
use weft_model::route::{DirectResponse, RouteAction};

use super::harness::*;
use crate::telemetry::access_log::{AccessLogSettings, Destination, Format};
use crate::telemetry::{Telemetry, TelemetrySettings};

fn exactly(path: &str) -> PathMatch {
    PathMatch::Exact { path: path.into(), ignore_case: false }
}

/// Whatever becomes of a request, the log has what it asked with.
#[test]
fn the_log_has_the_headers_of_requests_that_were_sent_nowhere() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let format = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(USER-AGENT)% %REQ(X-REQUEST-ID)%";
        let telemetry = Telemetry::new(TelemetrySettings {
            access_log: Some(AccessLogSettings {
                destination: Destination::File(path.clone()),
                format: Format::text(format).unwrap(),
            }),
            ..TelemetrySettings::new(WorkloadInfo::default())
        })
        .unwrap();
        let mut teapot =
            route(RouteAction::Respond(DirectResponse { status: 418, body: "short and stout".into() }));
        teapot.matches.path = exactly("/teapot");
        let mut waits = to("nowhere");
        waits.matches.path = exactly("/waits");
        let delay = Some((Duration::from_secs(3600), Fraction::ALL));
        waits.filters = FilterOverrides::fault(Some(Fault { delay, ..Fault::default() }));
        let proxy = Proxy::start_recording(outbound(vec![teapot, waits], Vec::new()), &telemetry);
        let address = proxy.at("127.0.0.1").await;
        let headers = "host: shop\r\nuser-agent: curl/8\r\nx-request-id: mine\r\nconnection: close\r\n\r\n";
        for target in ["/teapot", "/none"] {
            raw(address, format!("GET {target} HTTP/1.1\r\n{headers}").as_bytes()).await;
        }
        let mut goes = TcpStream::connect(address).await.unwrap();
        goes.write_all(format!("GET /waits HTTP/1.1\r\n{headers}").as_bytes()).await.unwrap();
        drop(goes);
        let expected =
            ["/teapot 418 - curl/8 mine", "/none 404 NR curl/8 mine", "/waits 0 DC,DI curl/8 mine"];
        soon(async {
            while std::fs::read_to_string(&path).unwrap().lines().count() < expected.len() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(log.lines().collect::<Vec<_>>(), expected);
    });
}
