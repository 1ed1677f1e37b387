//! What the mesh tells of its traffic, and that nobody can make it tell without end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use hyper::{Method, Request, Uri};
use weft_tests::client::Client;
use weft_tests::mesh::Mesh;
use weft_tests::wait::eventually;
use weft_tests::workload::Workload;

const REVIEWS: &str = "http://reviews:9080/";
/// Label sets that the scenario's sidecars may have.
const CAP: usize = 60;

/// Requests on one connection, each made by `make`; how many were answered.
async fn requests(client: &Client, count: u32, make: impl Fn(u32, &mut Request<()>)) -> u32 {
    let uri: Uri = REVIEWS.parse().unwrap();
    let (mut open, mut answered) = (None, 0);
    for number in 0..count {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static("/");
        request.headers_mut().insert("host", "reviews:9080".parse().unwrap());
        make(number, &mut request);
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => client.http1(&uri).await.unwrap(),
        };
        // A sidecar may close after an answer.
        if connection.ready().await.is_err() {
            connection = client.http1(&uri).await.unwrap();
        }
        let request = request.map(|()| http_body_util::Full::new(bytes::Bytes::new()));
        if let Ok(answer) = connection.send_request(request).await {
            let read = http_body_util::BodyExt::collect(answer.into_body()).await;
            answered += 1;
            open = read.is_ok().then_some(connection);
        }
    }
    answered
}

/// The sum of a metric's values over all its label sets, and how many there are.
fn sum(page: &str, metric: &str) -> (f64, usize) {
    let lines = page
        .lines()
        .filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (values.iter().sum(), values.len())
}

async fn page(workload: &Workload<'_>) -> String {
    workload.admin("/stats/prometheus").await
}

#[tokio::test]
async fn pain_16_a_client_cannot_make_metrics_without_end_and_what_is_beyond_the_cap_is_counted() {
    let mesh = Mesh::plan().environment("WEFT_MAX_SERIES", &CAP.to_string()).up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let shop = mesh.client("shop").await;
    reviews.reached_by(&shop, REVIEWS).await;
    let sidecar = mesh.workload("shop");

    // What a client writes into a request makes no label: hosts, paths, queries, methods, headers.
    let before = sum(&page(&sidecar).await, "weft_telemetry_series").0;
    let answered = requests(&shop, 3_000, |number, request| {
        *request.uri_mut() = format!("/evil-{number}?evil={number}").parse().unwrap();
        let headers = request.headers_mut();
        if number % 2 == 0 {
            headers.insert("host", format!("evil-{number}.example:9080").parse().unwrap());
        }
        headers.insert("user-agent", format!("evil-{number}").parse().unwrap());
        headers.insert("x-request-id", format!("evil-{number}").parse().unwrap());
        headers.insert(
            "x-envoy-peer-metadata-id",
            format!("sidecar~1.2.3.4~evil-{number}.x~x").parse().unwrap(),
        );
        headers.insert("x-envoy-peer-metadata", "ZXZpbA==".parse().unwrap());
        if number % 3 == 0 {
            *request.method_mut() = Method::from_bytes(format!("EVIL{number}").as_bytes()).unwrap();
        }
    })
    .await;
    assert!(answered >= 2_990, "{answered}");
    for workload in [&sidecar, &reviews] {
        let page = page(workload).await;
        assert!(!page.to_lowercase().contains("evil"), "a label that the client chose: {page}");
        let series = sum(&page, "weft_telemetry_series").0;
        assert!(series <= before + 8.0, "{series} label sets after {before}");
        assert_eq!(sum(&page, "weft_telemetry_series_dropped_total").0, 0.0);
    }

    // What a client can make the application answer does: up to the cap.
    let statuses = 200..600_u32;
    let counted = sum(&page(&sidecar).await, "istio_requests_total").0;
    let answered = requests(&shop, statuses.len() as u32, |number, request| {
        *request.uri_mut() = format!("/?status={}", statuses.start + number).parse().unwrap();
    })
    .await;
    assert!(answered > 390, "{answered}");
    for workload in [&sidecar, &reviews] {
        let page = page(workload).await;
        let (series, (_, lines)) =
            (sum(&page, "weft_telemetry_series").0, sum(&page, "istio_requests_total"));
        assert!(series <= CAP as f64 && lines <= CAP + 2, "{series} label sets, {lines} lines");
        let dropped = sum(&page, "weft_telemetry_series_dropped_total").0;
        assert!(dropped > 200.0, "{dropped} exchanges were beyond the cap");
        let other = page.lines().find(|line| {
            line.starts_with("istio_requests_total{") && line.contains("response_code=\"other\"")
        });
        assert!(other.is_some(), "what is beyond the cap has no line: {page}");
        // Three histograms with all of Istio's labels.
        assert!(page.len() < CAP * 80_000, "{} bytes", page.len());
    }
    // Nothing is lost by it.
    let now = sum(&page(&sidecar).await, "istio_requests_total").0;
    assert!(now - counted >= f64::from(answered), "{answered} requests, counted {}", now - counted);

    // Nor does the control plane see more than there is.
    eventually("it is reported", async || {
        let stat = mesh.json(&["stat", "--by", "edge", "--window", "10m"]).await;
        let text = stat.to_string();
        assert!(!text.contains("evil"), "{text}");
        let rows = stat["rows"].as_array().map_or(0, Vec::len);
        if rows > 0 && rows < 20 { Ok(()) } else { Err(text) }
    })
    .await;
}
