//! The control plane dies at any moment: traffic goes on, nothing that was accepted is lost, policy holds after it is
//! back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use weft_tests::mesh::{Mesh, said};
use weft_tests::wait::{eventually, until};

const REVIEWS: &str = "http://reviews:9080/";

fn to_version(version: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec: {{host: reviews, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http: [{{route: [{{destination: {{host: reviews, subset: {version}}}}}]}}]
"
    )
}

#[tokio::test]
async fn kill_9_of_the_control_plane_loses_no_request_and_policy_holds_before_and_after() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    for version in ["v1", "v2"] {
        mesh.run("reviews").version(version).http().start().await.reached_by(&shop, REVIEWS).await;
    }
    mesh.apply(&to_version("v1")).await;
    let load = shop.load(REVIEWS).start();
    load.more(50).await;
    mesh.kill_control_plane().await;
    let away = shop.load(REVIEWS).requests(200).await;
    mesh.bring_back_control_plane().await;
    mesh.in_step().await;
    let back = shop.load(REVIEWS).requests(100).await;
    load.more(50).await;
    load.stop().await.assert_no_failure();
    away.assert_no_failure();
    back.assert_no_failure();
    assert!(away.share("v1") >= 1.0 && back.share("v1") >= 1.0, "{away:?} {back:?}");

    mesh.apply(&to_version("v2")).await;
    let after = shop.load(REVIEWS).requests(50).await;
    assert!(after.share("v2") >= 1.0, "{after:?}");
}

#[tokio::test]
async fn kill_9_in_the_middle_of_applies_leaves_all_of_a_change_or_nothing_of_it() {
    let mesh = Mesh::up().await;
    let change = |number: usize| -> String {
        let one = |part: usize| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: part-{part}}}\nspec:                  {{host: part-{part}, subsets: [{{name: s, labels: {{version: 'n{number}'}}}}]}}\n"
            )
        };
        (0..8).map(one).collect()
    };
    let mut acknowledged = None;
    for round in 0..5 {
        let applying = async {
            let mut last = None;
            for number in (round * 1000).. {
                if !mesh.weft_with(&["apply"], &change(number)).await.status.success() {
                    return (last, number);
                }
                last = Some(number);
            }
            unreachable!("applies go on until one fails")
        };
        let killing = async {
            // At another moment each time.
            for _ in 0..=round {
                mesh.good(&["info"]).await;
            }
            mesh.kill_control_plane().await;
        };
        let ((last, tried), ()) = tokio::join!(applying, killing);
        acknowledged = last.or(acknowledged);
        mesh.bring_back_control_plane().await;
        let objects = mesh.good(&["get", "-o", "yaml"]).await;
        let count = |number: usize| objects.matches(&format!("n{number}")).count();
        let complete = acknowledged.is_some_and(|number| count(number) == 8) || count(tried) == 8;
        let nothing = acknowledged.is_none() && count(tried) == 0;
        assert!(
            complete || nothing,
            "round {round}: acknowledged {acknowledged:?}, tried {tried}:\n{objects}"
        );
        if count(tried) == 8 {
            acknowledged = Some(tried);
        }
    }
    assert!(acknowledged.is_some(), "nothing was ever applied");
}

#[tokio::test]
async fn kill_9_of_the_control_plane_leaves_the_history_of_stat() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
    shop.load(REVIEWS).requests(100).await.assert_no_failure();
    let counted = async || {
        let stat = mesh.json(&["stat", "--by", "edge", "--window", "10m"]).await;
        let rows = stat["rows"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .filter(|row| row["source"] == "shop")
            .filter_map(|row| row["requests"].as_u64())
            .sum::<u64>()
    };
    let before = eventually("the requests are counted", async || match counted().await {
        count if count >= 100 => Ok(count),
        count => Err(format!("{count}")),
    })
    .await;
    let file = mesh.state().join("control-plane/statistics.jsonl");
    let changed = || std::fs::metadata(&file).and_then(|it| it.modified()).ok();
    let last = changed();
    until("the history is written once more", || changed() != last).await;
    mesh.kill_control_plane().await;
    mesh.bring_back_control_plane().await;
    assert!(counted().await >= before, "{} of {before}", counted().await);
    // A history that is damaged is no reason not to come back.
    mesh.kill_control_plane().await;
    std::fs::write(&file, "no history").unwrap();
    mesh.bring_back_control_plane().await;
    assert!(mesh.control_plane_log().contains("is damaged"), "{}", mesh.control_plane_log());
}

#[tokio::test]
async fn a_sidecar_that_restarts_without_a_control_plane_serves_its_last_good_configuration() {
    let mesh = Mesh::up().await;
    let shop = mesh.client("shop").await;
    for version in ["v1", "v2"] {
        mesh.run("reviews").version(version).http().start().await.reached_by(&shop, REVIEWS).await;
    }
    mesh.apply(&to_version("v2")).await;
    let workload = mesh.workload("shop");
    eventually("the configuration is on disk", async || {
        let path = mesh.state().join("workloads/shop.default/proxy");
        let files = std::fs::read_dir(&path).map_err(|error| error.to_string())?.flatten();
        let names: Vec<String> = files.map(|it| it.file_name().display().to_string()).collect();
        if names.iter().any(|name| name.contains("last-good")) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    // It is written a moment after a change: wait until the present one is there.
    eventually("it holds the policy", async || {
        let path = mesh.state().join("workloads/shop.default/proxy/last-good");
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.contains("|v2|reviews") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    mesh.kill_control_plane().await;
    let before = workload.record().await["sidecarPid"].as_i64().expect("a sidecar");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(before).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("another sidecar runs", async || {
        let now = workload.record().await["sidecarPid"].as_i64();
        if now.is_some_and(|now| now != before) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    eventually("it serves", async || {
        let answer = shop.request("GET", REVIEWS).try_send().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let served = shop.load(REVIEWS).requests(50).await;
    served.assert_no_failure();
    assert!(served.share("v2") >= 1.0, "{served:?}");
    mesh.bring_back_control_plane().await;
    mesh.in_step().await;
    shop.get(REVIEWS).await.expect(200);
}

#[tokio::test]
async fn objects_and_the_root_survive_down_when_they_are_to_be_kept() {
    let mesh = Mesh::up().await;
    mesh.apply(&to_version("v1")).await;
    mesh.good(&["down", "--keep-state"]).await;
    mesh.good(&["up"]).await;
    let objects = mesh.good(&["get"]).await;
    assert!(objects.contains("reviews"), "{objects}");
    let output = mesh.weft(&["proxy", "status"]).await;
    assert!(output.status.success(), "{}", said(&output));
}
