//! The runtime in real namespaces, as root and as an ordinary user.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::tests_outside_test_module, unreachable_pub, missing_docs, reason = "a test program")]

mod stand_in;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use stand_in::{ORDINARY, Stage};

/// Those who can run the tests here: root, and an ordinary user that root becomes.
fn users() -> Vec<Option<u32>> {
    if !nix::unistd::geteuid().is_root() {
        return vec![None];
    }
    vec![None, Some(ORDINARY)]
}

/// A service that answers every connection with its name, then who it is.
const ECHO: &str = "import socket,sys
s=socket.create_server(('::',int(sys.argv[1])),family=socket.AF_INET6,dualstack_ipv6=True)
while True:
    c,_=s.accept(); c.sendall(b'hello from '+sys.argv[2].encode()); c.close()";

/// Connects and prints what it is told.
const ASK: &str = "import socket,sys
c=socket.create_connection((sys.argv[1],int(sys.argv[2])),timeout=20)
d=b''
while b:=c.recv(4096): d+=b
print(d.decode())";

fn serve<'a>(name: &'a str, port: &'a str) -> Vec<&'a str> {
    let python = ["--detach", "--", "/usr/bin/python3", "-c", ECHO, port, name];
    [&["run", "--name", name, "--service", name, "--port", port][..], &python[..]].concat()
}

fn ask<'a>(options: &[&'a str], host: &'a str, port: &'a str) -> Vec<&'a str> {
    [&["run"], options, &["--", "/usr/bin/python3", "-c", ASK, host, port]].concat()
}

/// Processes and host links whose presence a mesh could be told by.
fn traces(stage: &Stage) -> Vec<String> {
    let home = stage.home().display().to_string();
    let mut traces: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let read =
                |name: &str| fs::read(process.join(name)).map(|it| String::from_utf8_lossy(&it).into_owned());
            let (line, environment) = (read("cmdline").ok()?, read("environ").unwrap_or_default());
            (line.contains(&home) || environment.contains(&home)).then_some(line)
        })
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(&home)).map(str::to_owned));
    let links = fs::read_to_string("/proc/net/dev").unwrap();
    traces
        .extend(links.lines().filter(|line| line.contains("weft") || line.contains("wv")).map(str::to_owned));
    if stage.home().exists() {
        traces.push(home);
    }
    traces
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn workloads_reach_each_other_through_their_sidecars_by_name_and_down_leaves_no_trace() {
    for user in users() {
        let stage = Stage::new(user);
        assert!(stage.good(&["up"]).contains("is up"));
        assert!(stage.good(&["up"]).contains("already up"));
        stage.good(&serve("reviews", "9080"));
        fs::write(stage.path("names"), "reviews.default.svc.cluster.local 10.250.0.2\n").unwrap();

        assert_eq!(stage.good(&ask(&[], "reviews", "9080")), "hello from reviews\n");
        assert!(
            stage.log("reviews", "proxy.log").contains("inbound 10.250.0.2 9080"),
            "inbound was not redirected"
        );
        assert_eq!(stage.good(&ask(&[], "fd57:6566:7400::2", "9080")), "hello from reviews\n");
        assert!(stage.log("reviews", "proxy.log").contains("inbound fd57:6566:7400::2 9080"), "IPv6 was not");
        // Its own power: CAP_NET_ADMIN (bit 12) and nothing else.
        assert!(stage.log("reviews", "proxy.log").contains("capabilities 0000000000001000"));

        let list: serde_json::Value = serde_json::from_str(&stage.good(&["ps", "-o", "json"])).unwrap();
        assert_eq!((&list[0]["name"], &list[0]["state"]), (&"reviews".into(), &"running".into()), "{list}");
        assert!(stage.good(&["ps"]).contains("intercept"));

        assert!(stage.good(&["down"]).contains("is down"));
        eventually("all traces are gone", || traces(&stage).is_empty());
        assert!(stage.good(&["down"]).contains("is not up"));
    }
}

#[test]
fn the_outbound_side_sees_where_a_connection_was_going_and_an_unknown_place_is_refused_at_once() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        let client = "import socket,time
for target in [('10.9.8.7', 80), ('10.250.0.1', 1), ('fd57:6566:7400::1', 1)]:
    c=socket.create_connection(target, timeout=20); c.recv(1); c.close()
print('done', flush=True)
time.sleep(1000)";
        stage.good(&["run", "--name", "client", "--detach", "--", "/usr/bin/python3", "-c", client]);
        eventually("the client is done", || stage.log("client", "app.log").contains("done"));
        let log = stage.log("client", "proxy.log");
        for line in ["outbound 10.9.8.7 80", "outbound 10.250.0.1 1", "outbound fd57:6566:7400::1 1"] {
            assert!(log.contains(line), "`{line}` is missing in:\n{log}");
        }
        assert_eq!(log.matches("refused [").count(), 3, "{log}");
    }
}

#[test]
fn an_application_cannot_switch_interception_off() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        let attack = "import socket,os,subprocess
s=socket.socket()
try: s.setsockopt(socket.SOL_SOCKET, 36, 0x539); print('marked')
except PermissionError: print('no mark')
print('uid', os.getuid())
print('nft', subprocess.call(['/usr/sbin/nft','flush','ruleset'], stderr=subprocess.DEVNULL) != 0)
print('host', socket.gethostname())
print(open('/etc/resolv.conf').read())";
        let said = stage.good(&["run", "--name", "attacker", "--", "/usr/bin/python3", "-c", attack]);
        let uid = user.unwrap_or_else(|| nix::unistd::getuid().as_raw());
        for part in ["no mark", &format!("uid {uid}\n"), "nft True", "host attacker", "nameserver 127.0.0.1"]
        {
            assert!(said.contains(part), "`{part}` is missing in:\n{said}");
        }
    }
}

#[test]
fn a_client_without_a_sidecar_is_on_the_network_and_knows_the_services() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        stage.good(&serve("reviews", "9080"));
        assert_eq!(stage.good(&ask(&["--no-sidecar"], "reviews", "9080")), "hello from reviews\n");
    }
}

#[test]
fn pain_1_pain_3_the_exit_code_is_the_applications_and_nothing_outlives_it() {
    let stage = Stage::new(None);
    stage.good(&["up"]);
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)] {
        let output = stage.weft(&["run", "--name", "job", "--", "/bin/sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code));
    }
    assert_eq!(stage.good(&["ps", "-o", "json"]), "[]\n");
    assert_eq!(stage.weft(&["run", "--", "no-such-program"]).status.code(), Some(2));

    // A sidecar that never gets ready: the application is not started, and the reason is told.
    let output = stage
        .command(&["run", "--name", "job", "--", "/bin/sh", "-c", "echo started"])
        .env("STAND_IN_BROKEN", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken on purpose"));
    assert_eq!(stage.good(&["ps", "-o", "json"]), "[]\n");
}

#[test]
fn pain_2_on_sigterm_the_application_ends_first_and_the_sidecar_last() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        let mut running = stage
            .command(&["run", "--name", "app", "--", "/bin/sh", "-c"])
            .arg("trap 'cat /etc/hostname >/dev/null; echo bye; exit 3' TERM; echo here; while :; do sleep 0.05; done")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = running.stdout.take().unwrap();
        let mut first = [0; 5];
        out.read_exact(&mut first).unwrap();
        let sidecar =
            |list: &str| serde_json::from_str::<serde_json::Value>(list).unwrap()[0]["sidecarPid"].as_i64();
        assert!(sidecar(&stage.good(&["ps", "-o", "json"])).is_some());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id() as i32), nix::sys::signal::SIGTERM)
            .unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), running.wait().unwrap().code()), ("bye\n", Some(3)));
        assert_eq!(stage.good(&["ps", "-o", "json"]), "[]\n");
    }
}

#[test]
fn a_control_plane_that_was_killed_comes_back_and_workloads_stay() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        stage.good(&serve("reviews", "9080"));
        let record = || -> serde_json::Value {
            serde_json::from_slice(&fs::read(stage.home().join("default/mesh.json")).unwrap()).unwrap()
        };
        let before = record();
        let pid = before["controlPlane"]["pid"].as_i64().unwrap() as i32;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
        let output = stage.weft(&["run", "--", "true"]);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(stage.good(&["up"]).contains("has its control plane back"));
        assert_eq!(record()["holder"], before["holder"]);
        assert_eq!(stage.good(&ask(&["--no-sidecar"], "reviews", "9080")), "hello from reviews\n");
    }
}

#[test]
fn down_cleans_up_after_everything_was_killed() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        // A daemon that detaches itself from its application, to be found all the same.
        let daemon = "setsid sleep 100000 & exec sleep 100000";
        stage.good(&["run", "--name", "app", "--detach", "--", "/bin/sh", "-c", daemon]);
        let list: serde_json::Value = serde_json::from_slice(
            &fs::read(stage.home().join("default/workloads/app.default/workload.json")).unwrap(),
        )
        .unwrap();
        let mesh: serde_json::Value =
            serde_json::from_slice(&fs::read(stage.home().join("default/mesh.json")).unwrap()).unwrap();
        let pids: BTreeSet<i64> = [&list["supervisor"], &mesh["holder"], &mesh["controlPlane"]]
            .iter()
            .map(|it| it["pid"].as_i64().unwrap())
            .collect();
        for pid in pids {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL)
                .unwrap();
        }
        stage.good(&["down"]);
        eventually("all traces are gone", || traces(&stage).is_empty());
    }
}

#[test]
fn a_detached_application_that_dies_at_once_says_why() {
    let stage = Stage::new(None);
    stage.good(&["up"]);
    let output = stage.weft(&[
        "run",
        "--service",
        "s",
        "--port",
        "9000",
        "--name",
        "s",
        "--detach",
        "--",
        "/bin/sh",
        "-c",
        "echo oh no; exit 4",
    ]);
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ended at once") && said.contains("oh no"), "{said}");
}

#[test]
fn a_published_port_leads_into_the_workload() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up"]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let publish = format!("{port}:9080");
        let mut arguments = serve("reviews", "9080");
        arguments.splice(1..1, ["--publish", &publish]);
        stage.good(&arguments);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"?").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello from reviews");
    }
}

#[test]
fn explicit_workloads_are_told_of_their_sidecar_by_environment() {
    for user in users() {
        let stage = Stage::new(user);
        stage.good(&["up", "--explicit"]);
        let said = stage.good(&[
            "run",
            "--explicit",
            "--",
            "/bin/sh",
            "-c",
            "echo $http_proxy $HTTPS_PROXY; echo $no_proxy",
        ]);
        assert!(said.starts_with("http://127.0.0.1:"), "{said}");
        assert!(said.ends_with("localhost,127.0.0.1,::1\n"), "{said}");
        stage.good(&["down"]);
        eventually("all traces are gone", || traces(&stage).is_empty());
    }
}

#[test]
fn without_a_mesh_commands_say_so_with_their_own_exit_code() {
    let stage = Stage::new(None);
    for arguments in [&["ps"][..], &["run", "--", "true"]] {
        let output = stage.weft(arguments);
        assert_eq!(output.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&output.stderr).contains("weft up"));
    }
    assert_eq!(stage.weft(&["logs", "nobody"]).status.code(), Some(4));
}
