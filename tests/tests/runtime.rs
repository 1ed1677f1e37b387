//! What `weft up` and `weft run` make of a machine: namespaces, rules, powers, ports; as root and as an ordinary user.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use weft_tests::mesh::{Mesh, ORDINARY_USER, Plan, said};
use weft_tests::wait::{eventually, until};

const REVIEWS: &str = "http://reviews:9080/";

/// Those who can run a mesh here, each with the id of its applications: root, and an ordinary user that root becomes.
fn users() -> Vec<(Plan, u32)> {
    let own = nix::unistd::getuid().as_raw();
    if own != 0 {
        return vec![(Mesh::plan(), own)];
    }
    vec![(Mesh::plan(), 0), (Mesh::plan().ordinary_user(), ORDINARY_USER)]
}

fn pid(process: &Value) -> Pid {
    Pid::from_raw(i32::try_from(process["pid"].as_i64().expect("a process")).unwrap())
}

#[tokio::test]
async fn a_mesh_is_up_once_its_sidecars_have_one_power_and_down_leaves_no_trace() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        assert!(mesh.good(&["up"]).await.contains("already up"));
        let shop = mesh.client("shop").await;
        let reviews = mesh.run("reviews").http().start().await;
        reviews.reached_by(&shop, REVIEWS).await;
        let answer = shop.get(REVIEWS).await.expect(200);
        assert!(answer.field("headers.x-forwarded-client-cert").contains("sa/shop"), "{}", answer.text());
        // Called around its service, by either address, it is still its sidecar that answers.
        for (ipv6, path) in [(false, "/by-ipv4"), (true, "/by-ipv6")] {
            let address = reviews.address(ipv6).await;
            let host = if ipv6 { format!("[{address}]") } else { address.clone() };
            let answer = shop.get(&format!("http://{host}:9080{path}")).await.expect(200);
            assert_eq!(answer.field("headers.x-forwarded-proto"), "http", "{}", answer.text());
            reviews.logged(&[path, &address]).await;
        }
        let record = reviews.record().await;
        assert_eq!((&record["state"], &record["mode"]), (&"running".into(), &"intercept".into()), "{record}");
        assert!(mesh.good(&["ps"]).await.contains("intercept"));
        // CAP_NET_ADMIN (bit 12), to mark its sockets, and nothing else.
        let status = fs::read_to_string(format!("/proc/{}/status", record["sidecarPid"])).unwrap();
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("0000000000001000"), "{line}");
        }
        assert!(mesh.good(&["down"]).await.contains("is down"));
        until("every trace is gone", || mesh.traces().is_empty()).await;
        assert!(mesh.good(&["down"]).await.contains("is not up"));
    }
}

#[tokio::test]
async fn the_sidecar_knows_where_a_connection_was_going_and_an_unknown_place_is_refused_at_once() {
    for (plan, _) in users() {
        let mesh = plan.option("--no-egress").up().await;
        let shop = mesh.client("shop").await;
        for place in ["10.9.8.7:80", "10.250.0.1:1", "[fd57:6566:7400::1]:1", "[2001:db8::1]:80"] {
            let refused = shop.exchange(place, b"anybody?");
            let answer = tokio::time::timeout(Duration::from_secs(10), refused).await;
            let answer = answer.unwrap_or_else(|_| panic!("{place} hangs"));
            assert!(answer.as_ref().map_or(true, Vec::is_empty), "{place}: {answer:?}");
            mesh.workload("shop").logged(&[place]).await;
        }
    }
}

#[tokio::test]
async fn an_application_cannot_switch_interception_off() {
    let attack = "import socket,os,subprocess
s=socket.socket()
try: s.setsockopt(socket.SOL_SOCKET, 36, 0x539); print('marked')
except PermissionError: print('no mark')
print('uid', os.getuid())
for rules in (['nft','flush','ruleset'], ['iptables','-t','nat','-F'], ['ip','link','set','eth0','down']):
    try: refused=subprocess.call(rules, stderr=subprocess.DEVNULL, env={'PATH':'/usr/sbin:/sbin:/usr/bin:/bin'}) != 0
    except FileNotFoundError: refused=True
    print(rules[0], 'refused' if refused else 'DONE')
print('host', socket.gethostname())
print(open('/etc/resolv.conf').read())";
    for (plan, uid) in users() {
        let mesh = plan.up().await;
        let all = mesh.good(&["run", "--name", "attacker", "--", "/usr/bin/python3", "-c", attack]).await;
        let own = format!("uid {uid}\n");
        for part in ["no mark", &own, "nft refused", "iptables refused", "ip refused", "host attacker"] {
            assert!(all.contains(part), "`{part}` is missing in:\n{all}");
        }
        assert!(all.contains("nameserver 127.0.0.1"), "{all}");
    }
}

#[tokio::test]
async fn a_client_without_a_sidecar_is_on_the_network_and_knows_the_services_by_name() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        mesh.run("reviews").http().start().await;
        let outsider = mesh.outsider("outsider").await;
        let answer = outsider.get(REVIEWS).await.expect(200);
        assert!(!answer.text().contains("x-forwarded-client-cert"), "it has no identity: {}", answer.text());
    }
}

#[tokio::test]
async fn pain_01_pain_03_the_exit_code_is_the_applications_and_nothing_outlives_it() {
    let mesh = Mesh::up().await;
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)] {
        let output = mesh.weft(&["run", "--name", "job", "--", "/bin/sh", "-c", script]).await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
    assert_eq!(mesh.good(&["ps", "-o", "json"]).await, "[]\n");
    assert_eq!(mesh.weft(&["run", "--", "no-such-program"]).await.status.code(), Some(2));

    // A sidecar that never gets ready: the application is not started, and the reason is told.
    let mut command = mesh.command(&["run", "--name", "job", "--", "/bin/sh", "-c", "echo started"]);
    command.env("WEFT_MAX_SERIES", "a few");
    let output = tokio::process::Command::from(command).output().await.unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(output.stdout.is_empty(), "{}", said(&output));
    assert!(
        said(&output).contains("before it was ready") && said(&output).contains("a few"),
        "{}",
        said(&output)
    );
    assert_eq!(mesh.good(&["ps", "-o", "json"]).await, "[]\n");
}

#[tokio::test]
async fn pain_02_on_sigterm_the_application_ends_first_and_can_still_call_through_its_sidecar() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        let shop = mesh.client("shop").await;
        mesh.run("reviews").http().start().await.reached_by(&shop, REVIEWS).await;
        let script = "farewell() { exec 3<>/dev/tcp/reviews/9080
            printf 'GET / HTTP/1.1\\r\\nHost: reviews\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3; echo bye; exit 3; }
            trap farewell TERM; echo here; while :; do sleep 0.05; done";
        let command = mesh.command(&["run", "--name", "app", "--", "bash", "-c", script]);
        let mut running =
            tokio::process::Command::from(command).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut out = BufReader::new(running.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).await.unwrap();
        assert_eq!(first, "here\n");
        assert!(mesh.workload("app").record().await["sidecarPid"].is_i64());
        kill(Pid::from_raw(running.id().unwrap().cast_signed()), Signal::SIGTERM).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("bye\n"), "{rest}");
        assert_eq!(running.wait().await.unwrap().code(), Some(3));
        let left = mesh.json(&["ps"]).await;
        assert!(!left.to_string().contains("\"app\""), "{left}");
    }
}

#[tokio::test]
async fn a_control_plane_that_was_killed_comes_back_and_the_network_and_workloads_stay() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        mesh.run("reviews").http().start().await;
        let before = mesh.written("mesh.json");
        mesh.kill_control_plane().await;
        for arguments in [&["run", "--", "true"][..], &["info"], &["get"]] {
            let output = mesh.weft(arguments).await;
            assert_eq!(output.status.code(), Some(3), "{}", said(&output));
            assert!(said(&output).contains("Connection refused"), "{}", said(&output));
            assert!(said(&output).contains("`weft up`"), "{}", said(&output));
        }
        assert!(mesh.good(&["up"]).await.contains("has its control plane back"));
        assert_eq!(mesh.written("mesh.json")["holder"], before["holder"]);
        mesh.outsider("outsider").await.get(REVIEWS).await.expect(200);
    }
}

#[tokio::test]
async fn down_cleans_up_after_everything_was_killed() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        // A daemon that detaches itself from its application, to be found all the same.
        let daemon = "setsid sleep 100000 & exec sleep 100000";
        mesh.good(&["run", "--name", "app", "--detach", "--", "/bin/sh", "-c", daemon]).await;
        let (workload, own) =
            (mesh.written("workloads/app.default/workload.json"), mesh.written("mesh.json"));
        let pids: BTreeSet<Pid> =
            [&workload["supervisor"], &own["holder"], &own["controlPlane"], &own["egress"]].map(pid).into();
        for pid in pids {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        mesh.good(&["down"]).await;
        until("every trace is gone", || mesh.traces().is_empty()).await;
    }
}

#[tokio::test]
async fn a_detached_application_that_dies_at_once_says_why() {
    let mesh = Mesh::up().await;
    let serve = ["run", "--service", "s", "--port", "9000", "--name", "s", "--detach", "--"];
    let output = mesh.weft(&[&serve[..], &["/bin/sh", "-c", "echo oh no; exit 4"]].concat()).await;
    assert_eq!(output.status.code(), Some(125));
    assert!(said(&output).contains("ended at once") && said(&output).contains("oh no"), "{}", said(&output));
}

#[tokio::test]
async fn a_published_port_leads_into_the_workload() {
    for (plan, _) in users() {
        let mesh = plan.up().await;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        mesh.run("reviews").http().option(&format!("--publish {port}:9080")).start().await;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = b"GET /published HTTP/1.1\r\nHost: reviews\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("\"instance\":\"reviews\"") && answer.contains("/published"), "{answer}");
    }
}

#[tokio::test]
async fn explicit_workloads_are_told_of_their_sidecar_by_environment() {
    for (plan, _) in users() {
        let mesh = plan.option("--explicit").up().await;
        let tell = "echo $http_proxy $HTTPS_PROXY; echo $no_proxy";
        let told = mesh.good(&["run", "--explicit", "--", "/bin/sh", "-c", tell]).await;
        assert_eq!(told.matches("http://127.0.0.1:").count(), 2, "{told}");
        assert!(told.ends_with("localhost,127.0.0.1,::1\n"), "{told}");
        assert!(!mesh.good(&["ps"]).await.contains("intercept"));
        mesh.good(&["down"]).await;
        until("every trace is gone", || mesh.traces().is_empty()).await;
    }
}

#[tokio::test]
async fn without_a_mesh_commands_say_so_with_their_own_exit_code() {
    let mesh = Mesh::up().await;
    assert_eq!(mesh.weft(&["logs", "nobody"]).await.status.code(), Some(4));
    assert_eq!(mesh.weft(&["down", "nobody"]).await.status.code(), Some(4));
    mesh.good(&["down"]).await;
    let all: [&[&str]; 8] = [
        &["ps"],
        &["run", "--", "true"],
        &["logs", "nobody"],
        &["down", "nobody"],
        &["info"],
        &["get"],
        &["stat"],
        &["proxy", "status"],
    ];
    for arguments in all {
        let output = mesh.weft(arguments).await;
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains("is not up\n  `weft up --mesh t"), "{}", said(&output));
    }
    eventually("nothing was made by asking", async || {
        let traces = mesh.traces();
        if traces.is_empty() { Ok(()) } else { Err(format!("{traces:?}")) }
    })
    .await;
}
