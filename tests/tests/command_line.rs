//! What scripts and people read from `weft`: objects, mistakes, logs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use weft_tests::mesh::{Mesh, said};
use weft_tests::wait::eventually;

const POLICY: &str = "# Nobody may say nothing.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: quiet}
spec:
  mtls: {mode: PERMISSIVE}
";

#[tokio::test]
async fn pain_11_what_is_shown_can_be_applied_and_mistakes_of_watched_files_are_data() {
    let mesh = Mesh::plan().watching("quiet.yaml", POLICY).up().await;
    mesh.run("reviews").http().start().await;
    let bad = POLICY.replace("quiet", "loud").replace("mode", "mood");
    fs::write(mesh.watched_directory().join("loud.yaml"), &bad).unwrap();
    fs::write(mesh.watched_directory().join("quiet.yaml"), POLICY.replace("PERMISSIVE", "PERMISIVE"))
        .unwrap();
    let list = eventually("both mistakes are told", async || {
        let list = mesh.json(&["get"]).await;
        let told =
            |name: &str| list["findings"].as_array().unwrap().iter().any(|it| it["object"]["name"] == *name);
        if told("quiet") && told("loud") { Ok(list.clone()) } else { Err(list.to_string()) }
    })
    .await;
    let mistake = |name: &str| -> Value {
        let all = list["findings"].as_array().unwrap();
        all.iter().find(|it| it["object"]["name"] == *name && it["severity"] == "error").unwrap().clone()
    };
    let (quiet, loud) = (mistake("quiet"), mistake("loud"));
    assert!(quiet["file"].as_str().unwrap().ends_with("quiet.yaml"), "{quiet}");
    assert_eq!((&quiet["line"], &quiet["column"]), (&6.into(), &16.into()), "{quiet}");
    assert_eq!(
        (&quiet["field"], &quiet["lastGoodKept"]),
        (&"spec.mtls.mode".into(), &true.into()),
        "{quiet}"
    );
    assert!(quiet["hint"].as_str().unwrap().contains("PERMISSIVE"), "{quiet}");
    assert_eq!(loud["lastGoodKept"], false, "{loud}");
    let one = mesh.json(&["get", "peerauthentication", "quiet"]).await;
    assert_eq!(one["kind"], "PeerAuthentication", "{one}");
    assert!(one["status"]["findings"].to_string().contains("quiet.yaml"), "{one}");
    let output = mesh.weft(&["get", "peerauthentication", "loud", "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains("loud.yaml:6:"), "it says why: {}", said(&output));

    let yaml = mesh.good(&["get", "-o", "yaml"]).await;
    assert!(yaml.contains("# Nobody may say nothing."), "{yaml}");
    assert!(yaml.contains("kind: WorkloadEntry\n"), "{yaml}");
    assert!(!yaml.contains("\"kind\""), "JSON is no answer to `-o yaml`: {yaml}");
    assert!(yaml.contains("kind: FindingList\n") && yaml.contains("  line: 6\n"), "{yaml}");
    for shown in [yaml, list.to_string()] {
        let output = mesh.weft_with(&["apply", "--dry-run"], &shown).await;
        assert!(output.status.success(), "{}\n{shown}", said(&output));
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.size())
}

/// Limit of each log in the scenario below, and what may come on top: what is written at once.
const LIMIT: u64 = 20_000;
const MOST: u64 = LIMIT + (64 << 10);

#[tokio::test]
async fn logs_stay_within_bounds_and_are_read_across_their_rotations() {
    let mesh = Mesh::plan().environment("WEFT_LOG_LIMIT", &LIMIT.to_string()).up().await;
    // Goes on when it is told to: so that one who follows is there from the start.
    let go = mesh.watched_directory().join("go");
    let script = format!(
        "echo first; until test -e {}; do sleep 0.05; done; i=0; \
         while test $i -lt 20000; do echo line $i; i=$((i+1)); done; echo last >&2; exec sleep 1000",
        go.display()
    );
    mesh.good(&["run", "--detach", "--name", "talker", "--", "sh", "-c", &script]).await;
    let mut follow = tokio::process::Command::from(mesh.command(&["logs", "talker", "-f"]));
    let follow = follow.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut followed = tokio::io::BufReader::new(follow.stdout.unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut followed, &mut line).await.unwrap();
    assert_eq!(line, "first\n");
    fs::write(&go, "").unwrap();
    eventually("it has said everything", async || {
        let text = mesh.good(&["logs", "talker", "--tail", "1"]).await;
        if text == "last\n" { Ok(()) } else { Err(text) }
    })
    .await;
    let own = mesh.state().join("workloads/talker.default");
    assert!(size(&own.join("app.log")) <= MOST && size(&own.join("app.log.1")) <= MOST);
    let kept = mesh.good(&["logs", "talker"]).await;
    let numbers: Vec<u32> =
        kept.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.len() as u64 * 11 > LIMIT, "the file before this one is shown too: {}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is missing: {numbers:?}");
    assert_eq!(numbers.last(), Some(&19_999));
    assert_eq!(mesh.good(&["logs", "talker", "--tail", "3"]).await, "line 19998\nline 19999\nlast\n");
    loop {
        line.clear();
        tokio::io::AsyncBufReadExt::read_line(&mut followed, &mut line).await.unwrap();
        if line == "last\n" || line.is_empty() {
            break;
        }
    }
    assert_eq!(line, "last\n", "one who follows gets to the end, too");

    // The sidecar's and the control plane's are bounded in the same way.
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, "http://reviews:9080/").await;
    let rotated = mesh.state().join("workloads/reviews.default/proxy.log.1");
    while size(&rotated) == 0 {
        shop.load("http://reviews:9080/").requests(100).await.assert_no_failure();
    }
    assert!(size(&rotated) <= MOST);
    eventually("both files are shown", async || {
        shop.load("http://reviews:9080/").requests(20).await.assert_no_failure();
        let log = mesh.good(&["logs", "reviews", "--proxy"]).await;
        if log.len() as u64 > size(&rotated) { Ok(()) } else { Err(log.len().to_string()) }
    })
    .await;
    let rotated = mesh.state().join("control-plane.log.1");
    while size(&rotated) == 0 {
        mesh.good(&["run", "--", "true"]).await;
    }
    assert!(size(&rotated) <= LIMIT, "{}", size(&rotated));
    assert!(size(&mesh.state().join("control-plane.log")) <= LIMIT);
    eventually("both files are shown", async || {
        let log = mesh.good(&["logs", "--control-plane"]).await;
        if log.len() as u64 > size(&rotated) { Ok(()) } else { Err(log.len().to_string()) }
    })
    .await;
}
