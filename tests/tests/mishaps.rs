//! What a user of `weft` sees when things go wrong around it: a hung control plane, Ctrl-C, closed pipes, full disks, homes
//! of others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use weft_tests::machine::{MACHINE, Machine};
use weft_tests::mesh::{Mesh, ORDINARY_USER, built, said};
use weft_tests::wait::{eventually, until};

async fn output(command: Command) -> Output {
    tokio::process::Command::from(command).output().await.expect("weft runs")
}

fn process(child: &tokio::process::Child) -> Pid {
    Pid::from_raw(child.id().expect("it runs").cast_signed())
}

/// The processes whose command line has all these words.
fn processes(words: &[&str]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    })
    .map(Pid::from_raw)
    .collect()
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_told() {
    let mesh = Mesh::up().await;
    let detach = ["run", "--detach", "--name", "app", "--", "sleep", "1000"];
    let all: [&[&str]; 5] = [&["up"], &detach, &["ps"], &["down", "app"], &["get"]];
    for arguments in all {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = mesh.command(arguments);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let status = tokio::process::Command::from(command).status().await.unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = mesh.command(&["up"]);
    command.stdout(full());
    let told = tokio::process::Command::from(command).stderr(Stdio::piped()).spawn().unwrap();
    let told = told.wait_with_output().await.unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(said(&told).contains("cannot write to standard output: No space left"), "{}", said(&told));
    mesh.good(&["info"]).await;
}

#[tokio::test]
async fn a_hung_control_plane_is_named_and_up_replaces_it() {
    let mesh = Mesh::up().await;
    let pid = mesh.json(&["info"]).await["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGSTOP).unwrap();
    let all: [&[&str]; 4] = [&["info"], &["get"], &["stat"], &["run", "--", "true"]];
    let hung = futures_util::future::join_all(all.map(|arguments| mesh.weft(arguments))).await;
    for output in hung {
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("accepts but does not answer\n  `weft up`"), "{}", said(&output));
    }
    assert!(mesh.good(&["up"]).await.contains("has its control plane back"));
    assert_ne!(mesh.json(&["info"]).await["pid"].as_i64(), Some(pid));
}

#[tokio::test]
async fn two_ups_at_once_make_one_mesh() {
    let mesh = Mesh::up().await;
    mesh.good(&["down"]).await;
    let (one, other) = tokio::join!(mesh.weft(&["up"]), mesh.weft(&["up"]));
    let both = format!("{}{}", said(&one), said(&other));
    assert!(one.status.success() && other.status.success(), "{both}");
    assert!(both.contains("is already up") && both.contains("is up: "), "{both}");
    assert!(both.contains("waiting for another `weft up` or `weft down`"), "{both}");
}

#[tokio::test]
async fn an_up_that_wants_another_mesh_is_told_so() {
    let mesh = Mesh::plan().option("--trust-domain").option("one.example").up().await;
    for same in [&["up"][..], &["up", "--trust-domain", "one.example"]] {
        assert!(mesh.good(same).await.contains("is already up"));
    }
    let output = mesh.weft(&["up", "--trust-domain", "other.example", "--no-egress"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = "is up with another choice of --trust-domain, --no-egress\n  `weft down --keep-state`";
    assert!(said(&output).contains(told), "{}", said(&output));
    mesh.good(&["info"]).await;
}

#[tokio::test]
async fn an_interrupted_up_leaves_no_process() {
    for option in [None, Some("--explicit")] {
        let mesh = Mesh::up().await;
        let home = mesh.home().display().to_string();
        mesh.good(&["down"]).await;
        let command = mesh.command(&[&["up"][..], option.as_slice()].concat());
        let mut command = tokio::process::Command::from(command);
        let up = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Held just before it answers, so that the interrupt certainly comes in the middle.
        let control_plane = eventually("the control plane starts", async || {
            let found = processes(&["weft-control-plane run", &home]);
            found.first().copied().ok_or_else(|| "not yet".to_owned())
        })
        .await;
        kill(control_plane, Signal::SIGSTOP).unwrap();
        kill(process(&up), Signal::SIGINT).unwrap();
        let output = up.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", said(&output));
        assert!(said(&output).contains("interrupted\n  no process of the mesh is left"), "{}", said(&output));
        until("no process is left", || processes(&[&home]).is_empty()).await;
        // And the next one works.
        mesh.good(&[&["up"][..], option.as_slice()].concat()).await;
        mesh.good(&["run", "--", "true"]).await;
    }
}

#[tokio::test]
async fn an_interrupted_run_leaves_no_workload() {
    let mesh = Mesh::up().await;
    let serve = ["run", "--name", "app", "--service", "app", "--port", "9000"];
    let none = async || {
        assert_eq!(mesh.good(&["ps", "-o", "json"]).await, "[]\n");
        let objects = mesh.good(&["get", "-A"]).await;
        assert!(!objects.contains("WorkloadEntry"), "the mesh forgets it: {objects}");
        assert!(!mesh.state().join("workloads/app.default").exists());
    };
    // In the background, while it is waited for a port that never comes.
    let command = mesh.command(&[&serve[..], &["--detach", "--", "sleep", "1000"]].concat());
    let mut command = tokio::process::Command::from(command);
    let run = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the application runs", async || {
        let all = mesh.json(&["ps"]).await;
        if all[0]["pid"].is_i64() { Ok(()) } else { Err(all.to_string()) }
    })
    .await;
    kill(process(&run), Signal::SIGINT).unwrap();
    let output = run.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("app.default was stopped"), "{}", said(&output));
    none().await;
    // In the foreground, while its namespaces are made.
    let command = mesh.command(&[&serve[..], &["--", "echo", "started"]].concat());
    let mut command = tokio::process::Command::from(command);
    let run = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let own = mesh.state().join("workloads/app.default/resolv.conf");
    until("its files are written", || own.exists()).await;
    kill(process(&run), Signal::SIGINT).unwrap();
    let output = run.wait_with_output().await.unwrap();
    assert!(!output.status.success(), "{}", said(&output));
    none().await;
}

#[tokio::test]
async fn a_workload_that_cannot_be_made_harms_nobody() {
    // On a machine of its own, because what is shown is that no process of the machine is ended.
    let machine = Machine::start(&["--instance", "bystander", "--http", "8080"], MACHINE);
    let mesh = Mesh::plan().on(machine).up().await;
    let shop = mesh.client("shop").await;
    let url = format!("http://{MACHINE}:8080/");
    shop.get(&url).await.expect(200);
    mesh.good(&["run", "--detach", "--name", "first", "--publish", "8081:80", "--", "sleep", "1000"]).await;
    let before = mesh.json(&["info"]).await["pid"].clone();
    for detach in [&["--detach"][..], &[]] {
        let again = ["run", "--name", "second", "--publish", "8081:80"];
        let output = mesh.weft(&[&again, detach, &["--", "sleep", "1000"]].concat()).await;
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
        assert!(said(&output).contains("8081"), "{}", said(&output));
    }
    assert_eq!(shop.get(&url).await.expect(200).field("instance"), "bystander");
    assert_eq!(mesh.json(&["info"]).await["pid"], before);
    assert_eq!(mesh.workload("first").record().await["state"], "running");
}

#[tokio::test]
async fn an_interrupted_apply_says_what_holds() {
    let mesh = Mesh::up().await;
    let _shop = mesh.client("shop").await;
    let sidecar = mesh.workload("shop").record().await["sidecarPid"].as_i64().unwrap();
    // It cannot acknowledge.
    let sidecar = Pid::from_raw(i32::try_from(sidecar).unwrap());
    kill(sidecar, Signal::SIGSTOP).unwrap();
    let policy = mesh.watched_directory().join("strict.yaml");
    let yaml = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}\n";
    fs::write(&policy, yaml).unwrap();
    let command = mesh.command(&["apply", "--wait", "-f", &policy.display().to_string()]);
    let mut command = tokio::process::Command::from(command);
    let mut apply = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(apply.stdout.take().unwrap());
    stdout.read_line(&mut line).await.unwrap();
    assert_eq!(line, "PeerAuthentication/default created in default\n");
    kill(process(&apply), Signal::SIGINT).unwrap();
    let output = apply.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("interrupted\n  the change is made"), "{}", said(&output));
    kill(sidecar, Signal::SIGCONT).unwrap();
    mesh.in_step().await;
}

#[tokio::test]
async fn an_interrupted_demo_takes_its_mesh_down() {
    let home = tempfile::Builder::new().prefix("weft-i").tempdir_in("/tmp").unwrap();
    let path = home.path().display().to_string();
    let mut command = tokio::process::Command::new(built().join("weft"));
    command.args(["demo", "--mesh", "bookshop"]).env("WEFT_HOME", home.path()).env_remove("WEFT_MESH");
    // A process group of its own, as a shell gives it: the terminal's Ctrl-C is for all of it.
    let command = command.process_group(0).stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut demo = command.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it starts services").starts_with("starting") {}
    nix::sys::signal::killpg(process(&demo), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    let output = demo.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}{}", said(&output));
    assert!(rest.contains("Taking everything down"), "{rest}");
    until("no process is left", || processes(&[&path]).is_empty()).await;
    assert!(!home.path().join("bookshop").exists());
}

#[tokio::test]
async fn a_closed_terminal_ends_what_ran_in_it_and_not_the_mesh() {
    let mesh = Mesh::up().await;
    mesh.good(&["down"]).await;
    // A terminal that is closed when its first command says so.
    let terminal = "import os,pty,sys
pid,terminal=pty.fork()
if pid==0: os.execv(sys.argv[1],sys.argv[1:])
said=b''
while b'ready' not in said and b'is up' not in said: said+=os.read(terminal,1000)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))";
    let in_terminal = |arguments: &[&str]| {
        let weft = mesh.command(arguments);
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", terminal]).arg(weft.get_program()).args(weft.get_args());
        command.envs(weft.get_envs().filter_map(|(name, value)| Some((name, value?))));
        output(command)
    };
    in_terminal(&["up"]).await;
    mesh.good(&["info"]).await;
    let script = "trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done";
    let ran = in_terminal(&["run", "--name", "app", "--", "sh", "-c", script]).await;
    assert_eq!(ran.status.code(), Some(9), "{}", said(&ran));
    assert_eq!(mesh.good(&["ps", "-o", "json"]).await, "[]\n");
}

#[tokio::test]
async fn homes_that_cannot_be_used_are_named_with_what_to_do() {
    if !nix::unistd::geteuid().is_root() {
        return; // Nobody else can be become.
    }
    let mesh = Mesh::plan().ordinary_user().up().await;
    // Of another user: nothing is started in it, not even by root …
    let weft = |arguments: &[&str], home: &OsStr| {
        let mut command = mesh.command(arguments);
        command.env("WEFT_HOME", home);
        output(command)
    };
    let mut as_root = Command::new(mesh.program("weft"));
    let name = mesh.state().file_name().unwrap().to_owned();
    as_root.args(["run", "--", "true"]).env("WEFT_HOME", mesh.home()).env("WEFT_MESH", &name);
    let told = output(as_root).await;
    assert_eq!(told.status.code(), Some(5), "{}", said(&told));
    let owner = format!("belongs to another user, with the id {ORDINARY_USER}");
    assert!(said(&told).contains(&owner), "{}", said(&told));
    // … and what may not be looked at is not taken for nothing.
    let roots = tempfile::tempdir().unwrap();
    fs::set_permissions(roots.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let all: [&[&str]; 6] = [&["up"], &["down"], &["ps"], &["get"], &["logs", "x"], &["run", "--", "true"]];
    for arguments in all {
        let told = weft(arguments, roots.path().as_os_str()).await;
        assert_eq!(told.status.code(), Some(5), "{arguments:?}: {}", said(&told));
        assert!(said(&told).contains("another user's"), "{}", said(&told));
    }
    let long = format!("/tmp/{}", "x".repeat(90));
    let told = weft(&["up"], OsStr::new(&long)).await;
    assert_eq!(told.status.code(), Some(5));
    assert!(said(&told).contains("set WEFT_HOME to a path of at most"), "{}", said(&told));
    let told = weft(&["up"], OsStr::from_bytes(b"/tmp/weft-\xff")).await;
    assert_eq!(told.status.code(), Some(5));
    assert!(said(&told).contains("is not a path in UTF-8"), "{}", said(&told));
    let mut homeless = mesh.command(&["up"]);
    homeless.env_remove("WEFT_HOME").env_remove("HOME").env_remove("XDG_STATE_HOME");
    let told = output(homeless).await;
    assert_eq!(told.status.code(), Some(5));
    assert!(said(&told).contains("set WEFT_HOME to a directory"), "{}", said(&told));
    // Relative to where it is called, with a space in it: that is all right.
    let mut relative = mesh.command(&["ps"]);
    relative.current_dir(mesh.home().parent().unwrap()).env("WEFT_HOME", "home");
    assert!(output(relative).await.status.success());
}

#[tokio::test]
async fn a_full_disk_leaves_no_process() {
    if !nix::unistd::geteuid().is_root() {
        return; // Only root can have a small disk.
    }
    let disk = tempfile::Builder::new().prefix("weft-d").tempdir_in("/tmp").unwrap();
    let home = disk.path().display().to_string();
    // Room for the directories, the lock and the logs, but not for what is written into them.
    let script = format!(
        "mount -t tmpfs -o size=4k,nr_inodes=100 none {home} && head -c 4096 /dev/zero > {home}/fill && exec {} up",
        built().join("weft").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env("WEFT_HOME", &home).env("WEFT_MESH", "full");
    let told = output(command).await;
    assert!(!told.status.success() && told.status.code() != Some(101), "{}", said(&told));
    assert!(said(&told).contains("No space left on device"), "{}", said(&told));
    until("no process is left", || processes(&[&home]).is_empty()).await;
}

#[tokio::test]
async fn what_a_pipe_did_not_bring_is_not_applied_as_nothing() {
    let mesh = Mesh::up().await;
    for nothing in ["", "\n# nothing\n---\n"] {
        let told = mesh.weft_with(&["apply"], nothing).await;
        assert_eq!(told.status.code(), Some(1));
        assert!(said(&told).contains("no object in standard input"), "{}", said(&told));
    }
    let told = mesh.weft(&["apply", "-f", "/dev/null"]).await;
    assert!(said(&told).contains("no object in /dev/null"), "{}", said(&told));
}

#[tokio::test]
async fn what_up_suggests_works_as_it_is_printed() {
    // With a mesh named by an option, and a PATH in which there is no curl.
    let directory = tempfile::Builder::new().prefix("weft-n").tempdir_in("/tmp").unwrap();
    let tools = directory.path().join("bin");
    fs::create_dir(&tools).unwrap();
    for program in ["weft", "weft-control-plane", "weft-proxy"] {
        std::os::unix::fs::symlink(built().join(program), tools.join(program)).unwrap();
    }
    std::os::unix::fs::symlink("/usr/bin/python3", tools.join("python3")).unwrap();
    let shell = |script: &str| {
        let mut command = Command::new("/bin/bash");
        command.args(["-euc", script]).current_dir(directory.path()).env("PATH", &tools);
        command.env("WEFT_HOME", directory.path().join("home")).env_remove("WEFT_MESH");
        output(command)
    };
    let up = shell("weft up --mesh other").await;
    let text = String::from_utf8_lossy(&up.stdout).into_owned();
    let lines: Vec<String> = text.lines().skip(1).map(|line| line.replace("next:", "")).collect();
    let suggested = lines.join("\n");
    let followed = shell(&suggested).await;
    let down = shell("weft down --mesh other").await;
    assert!(up.status.success() && lines.len() == 2, "{}", said(&up));
    assert!(suggested.contains("--mesh other") && !suggested.contains("curl"), "{suggested}");
    assert!(followed.status.success(), "{suggested}\n{}", said(&followed));
    assert!(said(&followed).contains("Directory listing"), "{}", said(&followed));
    assert!(down.status.success(), "{}", said(&down));
}
