//! Traces: contexts that applications pass on, spans that sidecars export.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::machine::{MACHINE, Machine};
use weft_tests::mesh::Mesh;
use weft_tests::wait::eventually;
use weft_tests::workload::App;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A line of the collector's, taken apart.
fn spans(log: &str) -> Vec<(String, String, String)> {
    let field = |line: &str, name: &str| {
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")));
        found.unwrap_or_default().to_owned()
    };
    let lines = log.lines().filter(|line| line.contains(&format!("trace={TRACE}")));
    lines
        .map(|line| (line.split(':').next().unwrap().to_owned(), field(line, "id"), field(line, "parent")))
        .collect()
}

/// The client's span is the caller's child, the server's the client's: one tree across the sidecars.
fn is_one_tree(log: &str) -> Result<(), String> {
    let spans = spans(log);
    let of = |kind: &str| spans.iter().find(|(what, _, _)| what.contains(kind));
    match (of("SPAN_KIND_CLIENT of shop"), of("SPAN_KIND_SERVER of reviews")) {
        (Some((_, client, caller)), Some((_, _, parent))) if caller == PARENT && parent == client => Ok(()),
        _ => Err(format!("{spans:?} of {log}")),
    }
}

async fn ask(mesh: &Mesh) {
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, "http://reviews:9080/").await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    shop.request("GET", "http://reviews:9080/traced")
        .header("traceparent", &traceparent)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn spans_reach_a_collector_in_the_mesh() {
    let mesh = Mesh::plan().environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317").up().await;
    let collector = mesh.run("collector").serve("grpc:4317", App::collector()).start().await;
    ask(&mesh).await;
    eventually("the spans arrive", async || is_one_tree(&collector.app_log())).await;
}

#[tokio::test]
async fn spans_reach_a_collector_outside_the_mesh() {
    let machine = Machine::start(&["--collector", "4317"], MACHINE);
    let endpoint = format!("http://{MACHINE}:4317");
    let mesh = Mesh::plan().on(machine).environment("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).up().await;
    ask(&mesh).await;
    eventually("the spans arrive", async || is_one_tree(&mesh.machine_log())).await;
}
