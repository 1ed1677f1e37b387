//! What the demo claims, and how it checks it.

use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::output::{Colour, coloured, say};
use crate::traffic::Summary;

/// One claim.
pub(super) struct Chapter {
    pub title: &'static str,
    pub play: fn(&Stage) -> Result<(), String>,
}

pub(super) const ALL: [Chapter; 7] = [
    Chapter { title: "Services in several languages talk, with no mesh code in them", play: talk },
    Chapter { title: "A canary gets a tenth of the requests", play: canary },
    Chapter { title: "One user sees another version", play: one_user },
    Chapter { title: "Retries hide a flaky service", play: retries },
    Chapter { title: "Strict mutual TLS: outsiders are refused, members work", play: strict },
    Chapter { title: "The control plane is killed while traffic flows", play: kill },
    Chapter { title: "What the mesh saw", play: telemetry },
];

const REVIEWS: &str = "http://reviews:9080/reviews/1";

/// Prints what was checked, or says what did not hold.
fn claim(holds: bool, text: &str) -> Result<(), String> {
    if !holds {
        return Err(format!("this should hold, and does not: {text}"));
    }
    say(&format!("   {} {text}", coloured(Colour::Green, "✔")));
    Ok(())
}

fn no_failure(summary: &Summary) -> Result<(), String> {
    let errors = summary.errors.join("\n     ");
    let failed = summary.failed;
    if failed > 0 {
        return Err(format!("{failed} of {} requests failed:\n     {errors}", summary.requests));
    }
    claim(summary.requests > 0, &format!("{} requests, none failed", summary.requests))
}

fn share(summary: &Summary, value: &str) -> f64 {
    let count = summary.values.get(value).copied().unwrap_or_default();
    count as f64 / summary.requests.max(1) as f64
}

fn talk(stage: &Stage) -> Result<(), String> {
    // `stock` fails one request in four on purpose, so a page is asked for until one is whole.
    let program = ["--requests", "8", "--connections", "1", "--field"];
    for (field, languages) in [
        ("service", vec!["shop"]),
        ("details.language", vec!["Rust"]),
        ("reviews.language", vec!["Python", "JavaScript", "Java"]),
        ("stock.language", vec!["C"]),
    ] {
        let summary = stage.visit("http://shop:9080/books/1", &[&program[..], &[field]].concat())?;
        let seen: Vec<&str> = summary.values.keys().map(String::as_str).collect();
        let known = languages.iter().any(|language| seen.contains(language));
        claim(known, &format!("the shop's page has {field}: {}", seen.join(", ")))?;
    }
    Ok(())
}

fn canary(stage: &Stage) -> Result<(), String> {
    stage.apply("canary.yaml", include_str!("../../../../deploy/demo/policies/canary.yaml"))?;
    let summary = stage.visit(REVIEWS, &["--requests", "2000", "--field", "version"])?;
    no_failure(&summary)?;
    let (first, second) = (share(&summary, "v1"), share(&summary, "v2"));
    let measured = format!("measured: {:.1} % v1, {:.1} % v2", first * 100.0, second * 100.0);
    // Five standard deviations of 2,000 draws.
    claim((second - 0.1).abs() < 0.034 && (first + second - 1.0).abs() < 1e-9, &measured)
}

fn one_user(stage: &Stage) -> Result<(), String> {
    stage.apply("tester.yaml", include_str!("../../../../deploy/demo/policies/tester.yaml"))?;
    let tester = stage.visit(REVIEWS, &["--requests", "50", "--field", "version", "--header", "x-user: tester"])?;
    no_failure(&tester)?;
    claim(share(&tester, "v3") >= 1.0, "with `x-user: tester` every answer comes from v3")?;
    let others = stage.visit(REVIEWS, &["--requests", "200", "--field", "version"])?;
    claim(share(&others, "v3") == 0.0 && others.failed == 0, "nobody else sees v3")
}

fn retries(stage: &Stage) -> Result<(), String> {
    let url = "http://stock:9080/stock/1";
    let success = |summary: &Summary| 1.0 - summary.failed as f64 / summary.requests.max(1) as f64;
    let before = stage.visit(url, &["--requests", "400"])?;
    claim(success(&before) < 0.9, &format!("before: {:.1} % of 400 requests succeed", success(&before) * 100.0))?;
    stage.apply("retries.yaml", include_str!("../../../../deploy/demo/policies/retries.yaml"))?;
    // Gently, as visitors do: a retry budget keeps retries from outnumbering requests.
    let after = stage.visit(url, &["--requests", "400", "--connections", "1", "--pause", "4ms"])?;
    claim(success(&after) > 0.99, &format!("after: {:.1} % of 400 requests succeed", success(&after) * 100.0))
}

fn strict(stage: &Stage) -> Result<(), String> {
    let workloads = stage.json(&["ps"])?;
    let addresses = workloads.as_array().into_iter().flatten().find(|workload| workload["name"] == "reviews-v1");
    let address = addresses.and_then(|w| w["addresses"][0].as_str()).ok_or("`weft ps` gives no address of reviews-v1")?;
    let address = address.split('/').next().unwrap_or(address);
    let url = format!("http://{address}:9080/reviews/1");
    let before = stage.visit_from_outside(&url, &["--requests", "5", "--connections", "1"])?;
    claim(before.failed == 0, "before: a client without sidecar is answered in plain text")?;
    stage.apply("strict.yaml", include_str!("../../../../deploy/demo/policies/strict.yaml"))?;
    let after = stage.visit_from_outside(&url, &["--requests", "5", "--connections", "1"])?;
    claim(after.failed == 5 && after.statuses.contains_key(&0), "after: the same client is refused")?;
    no_failure(&stage.visit(REVIEWS, &["--requests", "100"])?)?;
    let status = stage.json(&["proxy", "status"])?;
    let proxies = status["proxies"].as_array().cloned().unwrap_or_default();
    let identity = |proxy: &serde_json::Value| proxy["identity"].as_str().unwrap_or_default().to_owned();
    let mut identities: Vec<String> = proxies.iter().map(identity).filter(|id| id.starts_with("spiffe://")).collect();
    identities.sort();
    identities.dedup();
    claim(identities.len() >= 5, "every workload has an identity of its own:")?;
    for identity in identities {
        say(&format!("       {identity}"));
    }
    Ok(())
}

fn kill(stage: &Stage) -> Result<(), String> {
    let visit = stage.visit_in_background(REVIEWS, &["--time", "8s", "--pause", "2ms"])?;
    std::thread::park_timeout(Duration::from_secs(2));
    let pid = stage.kill_control_plane()?;
    say(&format!("   {}", coloured(Colour::Grey, &format!("$ kill -9 {pid}"))));
    std::thread::park_timeout(Duration::from_secs(3));
    stage.show(&["up"])?;
    no_failure(&visit.finish()?)?;
    stage.apply("promoted.yaml", include_str!("../../../../deploy/demo/policies/promoted.yaml"))?;
    let after = stage.visit(REVIEWS, &["--requests", "50", "--field", "version"])?;
    claim(after.failed == 0 && share(&after, "v3") >= 1.0, "a policy that was applied afterwards holds")
}

fn telemetry(stage: &Stage) -> Result<(), String> {
    // What was seen before the crash went with the control plane: long-term figures are Prometheus' to keep.
    for url in [REVIEWS, "http://shop:9080/books/1"] {
        stage.visit(url, &["--requests", "400"])?;
    }
    // Sidecars report every few seconds: wait until the visits are in.
    let deadline = Instant::now() + Duration::from_secs(20);
    let requests = |service: &str| -> Result<u64, String> {
        let stat = stage.json(&["stat", "--window", "10m"])?;
        let rows = stat["rows"].as_array().cloned().unwrap_or_default();
        let of_it = rows.iter().filter(|row| row["service"].as_str().is_some_and(|name| name.starts_with(service)));
        Ok(of_it.filter_map(|row| row["requests"].as_u64()).sum())
    };
    while requests("reviews")? < 800 && Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(500));
    }
    stage.show(&["stat", "--window", "10m"])?;
    stage.show(&["stat", "--by", "route", "--service", "reviews", "--window", "10m"])?;
    stage.show(&["stat", "--by", "edge", "--window", "10m"])?;
    let seen = requests("reviews")?;
    claim(seen >= 800, &format!("{seen} requests to reviews were counted"))?;
    let edges = stage.json(&["stat", "--by", "edge", "--window", "10m"])?;
    let rows = edges["rows"].as_array().cloned().unwrap_or_default();
    let encrypted = rows.iter().any(|row| row["mtls_share"].as_f64().is_some_and(|share| share >= 0.99));
    claim(encrypted, "calls between workloads went over mutual TLS")
}
