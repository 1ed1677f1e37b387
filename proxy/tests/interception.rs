//! The interception rules in the kernel: packets really go where they should. Each test makes network namespaces of
//! its own, as root, and as an ordinary user inside a user namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test program")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, SockRef, Socket, Type};
use weft_proxy::interception::apply::{Backend, apply, families_here, remove};
use weft_proxy::interception::rules::Family;
use weft_proxy::interception::setting::MARK;
use weft_proxy::interception::{Interception, Own, check};

const BACKENDS: [Backend; 3] = [Backend::Nftables, Backend::IptablesNft, Backend::IptablesLegacy];

/// Runs `inside` in a fresh network namespace with an interface `eth0` (10.9.0.2/24, fd09::2/64) whose other end
/// answers nobody: as who runs the test and, when that is root, as an ordinary user too.
fn in_a_network(test: &str, inside: fn()) {
    if !nix::unistd::geteuid().is_root() {
        // Only a process with one thread may make a user namespace, so the test is run again in one.
        return again(Command::new("unshare").args(["-Urn", "--"]), test);
    }
    // A network namespace belongs to a thread, and to what that thread starts.
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let mut lines = vec![
            "link set lo up",
            "link add name eth0 type veth peer name far",
            "link set eth0 up",
            "link set far up",
            "address add 10.9.0.2/24 dev eth0",
            "route add default via 10.9.0.1",
        ];
        if families_here().contains(&Family::Ipv6) {
            lines.extend(["address add fd09::2/64 dev eth0 nodad", "route add ::/0 via fd09::1"]);
        }
        for line in lines {
            assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
        }
        inside();
    })
    .join()
    .unwrap();
    if std::env::var_os("WEFT_TEST_AGAIN").is_none() {
        again(Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]), test);
    }
}

fn again(command: &mut Command, test: &str) {
    let own = std::env::current_exe().unwrap();
    let arguments = ["--exact", test, "--nocapture"];
    let output =
        command.arg(own).args(arguments).env("WEFT_TEST_AGAIN", "1").current_dir("/").output().unwrap();
    assert!(output.status.success(), "as an ordinary user: {}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it was not run again");
}

/// Tries again while a port is in use: what another test has just started holds a copy of our sockets until it runs
/// its own program.
fn when_free<T, E: std::fmt::Display>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Err(error) if error.to_string().contains("in use") && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

/// A listener of one family.
fn listen(ip: IpAddr, port: u16) -> TcpListener {
    when_free(|| try_listen(ip, port)).unwrap()
}

fn try_listen(ip: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address((ip, port).into()), Type::STREAM, None).unwrap();
    if ip.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    socket.listen(16)?;
    Ok(socket.into())
}

fn marked(to: SocketAddr, mark: u32) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if mark != 0 {
        socket.set_mark(mark).unwrap();
    }
    socket
}

fn connect(to: SocketAddr, mark: u32) -> TcpStream {
    let socket = marked(to, mark);
    socket.connect_timeout(&to.into(), Duration::from_secs(60)).unwrap();
    socket.into()
}

/// Accepts the connection that was just made, and asks where it was going.
fn original(listener: &TcpListener) -> SocketAddr {
    let (stream, _) = listener.accept().unwrap();
    let socket = SockRef::from(&stream);
    let v6 = listener.local_addr().unwrap().is_ipv6();
    let original = if v6 { socket.original_dst_v6() } else { socket.original_dst_v4() };
    original.unwrap().as_socket().unwrap()
}

fn wildcard(of: SocketAddr) -> IpAddr {
    if of.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// One address of each family that is there.
fn both(v4: &str, v6: &str) -> Vec<SocketAddr> {
    let count = families_here().len();
    [v4, v6].into_iter().take(count).map(|text| text.parse().unwrap()).collect()
}

#[test]
fn outgoing_connections_reach_the_outbound_port_and_tell_where_they_were_going() {
    in_a_network("outgoing_connections_reach_the_outbound_port_and_tell_where_they_were_going", || {
        for backend in BACKENDS {
            apply(&Interception::default(), &families_here(), backend).unwrap();
            for destination in both("192.0.2.7:8080", "[2001:db8::7]:8080") {
                let proxy = listen(wildcard(destination), 15001);
                let _client = connect(destination, 0);
                assert_eq!(original(&proxy), destination, "{backend:?}");
            }
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn a_workload_reaches_itself_directly() {
    in_a_network("a_workload_reaches_itself_directly", || {
        for backend in BACKENDS {
            apply(&Interception::default(), &families_here(), backend).unwrap();
            for address in both("10.9.0.2:9080", "[fd09::2]:9080") {
                let application = listen(wildcard(address), 9080);
                // The application to itself, and the proxy to its application.
                for mark in [0, MARK] {
                    let mut client = connect(address, mark);
                    let (mut server, _) = application.accept().unwrap();
                    server.write_all(b"app").unwrap();
                    drop(server);
                    let mut said = String::new();
                    client.read_to_string(&mut said).unwrap();
                    assert_eq!(said, "app");
                }
            }
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn dns_queries_reach_the_resolver_and_its_answers_come_back() {
    in_a_network("dns_queries_reach_the_resolver_and_its_answers_come_back", || {
        for backend in BACKENDS {
            apply(&Interception::default(), &families_here(), backend).unwrap();
            let resolver = when_free(|| UdpSocket::bind("127.0.0.1:15053")).unwrap();
            resolver.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            for server in ["127.0.0.1:53", "192.0.2.53:53"] {
                let client = UdpSocket::bind("0.0.0.0:0").unwrap();
                client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                client.connect(server).unwrap();
                client.send(b"who is reviews?").unwrap();
                let mut buffer = [0; 64];
                let (length, from) = resolver.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], b"who is reviews?");
                resolver.send_to(b"10.250.0.2", from).unwrap();
                // A connected socket takes answers only from whom it asked.
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], b"10.250.0.2", "{backend:?} {server}");
            }
            let over_tcp = listen(Ipv4Addr::LOCALHOST.into(), 15053);
            let _client = connect("192.0.2.53:53".parse().unwrap(), 0);
            assert_eq!(original(&over_tcp).port(), 53);
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn the_proxys_own_packets_and_excluded_ports_leave_as_they_are() {
    in_a_network("the_proxys_own_packets_and_excluded_ports_leave_as_they_are", || {
        // Whether it is complete at once: a caught connection is, because it stays on this machine; the others wait
        // for a network that answers nobody.
        let complete = |port: u16, mark: u32| {
            let to = SocketAddr::from(([192, 0, 2, 7], port));
            let socket = marked(to, mark);
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&to.into());
            socket.peer_addr().is_ok()
        };
        for backend in BACKENDS {
            let setting = Interception { excluded_outbound_ports: [5432].into(), ..Interception::default() };
            apply(&setting, &families_here(), backend).unwrap();
            let _proxy = listen(Ipv4Addr::UNSPECIFIED.into(), 15001);
            assert!(complete(80, 0), "{backend:?}: a plain connection was not caught");
            assert!(!complete(80, MARK), "{backend:?}: a marked connection was caught");
            assert!(!complete(5432, 0), "{backend:?}: an excluded port was caught");
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn applying_twice_is_applying_once_and_removing_leaves_nothing() {
    in_a_network("applying_twice_is_applying_once_and_removing_leaves_nothing", || {
        let state = || {
            let saved = ["iptables-save", "ip6tables-save"].map(|tool| {
                String::from_utf8(Command::new(tool).args(["-t", "nat"]).output().unwrap().stdout).unwrap()
            });
            saved.concat().lines().filter(|line| line.contains("WEFT")).collect::<Vec<_>>().join("\n")
        };
        let families = families_here();
        apply(&Interception::default(), &families, Backend::Iptables).unwrap();
        let once = state();
        assert!(once.contains("REDIRECT --to-ports 15001"), "{once}");
        apply(&Interception::default(), &families, Backend::Iptables).unwrap();
        assert_eq!(state(), once);
        let nftables = || {
            let rules = Command::new("nft").args(["list", "tables"]).output().unwrap();
            String::from_utf8_lossy(&rules.stdout).contains("weft")
        };
        apply(&Interception::default(), &families, Backend::Nftables).unwrap();
        apply(&Interception::default(), &families, Backend::Nftables).unwrap();
        assert!(nftables() && state().is_empty(), "one filter only holds rules: {}", state());
        apply(&Interception::default(), &families, Backend::Iptables).unwrap();
        assert_eq!(state(), once);
        assert!(!nftables(), "one filter only holds rules");
        // As two calls at the same time would leave it.
        let jump = "-t nat -A OUTPUT -j WEFT_OUTPUT";
        assert!(Command::new("iptables").args(jump.split(' ')).status().unwrap().success());
        remove(&families, Backend::Auto).unwrap();
        remove(&families, Backend::Auto).unwrap();
        assert_eq!(state(), "");
        let rules = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&rules.stdout).contains("weft"));
    });
}

/// The uid and gid that this test runs as, seen from inside its namespace.
fn own_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// Whether a connection is complete at once: a caught one is, because it stays on this machine; the others wait for a
/// network that answers nobody.
fn caught(to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    let socket = marked(to, 0);
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&to.into());
    socket.peer_addr().is_ok()
}

#[test]
fn the_proxy_is_told_by_its_user_or_group_and_others_can_be_excluded_in_the_same_way() {
    in_a_network("the_proxy_is_told_by_its_user_or_group_and_others_can_be_excluded_in_the_same_way", || {
        let (uid, gid) = own_ids();
        let nobody = Own::Process { uid: 4_000_001, gid: 4_000_002 };
        // Not every user id exists in a user namespace; rules for such are not taken there by every tool.
        let others =
            if uid == 0 && std::env::var_os("WEFT_TEST_AGAIN").is_none() { nobody } else { Own::Mark(MARK) };
        let setting = || Interception { own: others, ..Interception::default() };
        for backend in BACKENDS {
            let _proxy = listen(Ipv4Addr::UNSPECIFIED.into(), 15001);
            let resolver = when_free(|| UdpSocket::bind("127.0.0.1:15053")).unwrap();
            resolver.set_nonblocking(true).unwrap();
            apply(&setting(), &families_here(), backend).unwrap();
            assert!(caught("192.0.2.7:80"), "{backend:?}: another user was not caught");
            for passes in [
                Interception { own: Own::Process { uid, gid: 4_000_002 }, ..setting() },
                Interception { own: Own::Process { uid: 4_000_001, gid }, ..setting() },
                Interception { excluded_uids: [uid].into(), ..setting() },
                Interception { excluded_gids: [gid].into(), ..setting() },
            ] {
                // Ids that the namespace does not have cannot be asked for in it.
                if others != nobody && matches!(passes.own, Own::Process { .. }) {
                    continue;
                }
                apply(&passes, &families_here(), backend).unwrap();
                assert!(!caught("192.0.2.7:80"), "{backend:?}: caught with {passes:?}");
                let asking = UdpSocket::bind("0.0.0.0:0").unwrap();
                asking.send_to(b"who?", "192.0.2.53:53").unwrap();
                // What is redirected is in the resolver's queue before `send_to` returns.
                assert!(
                    resolver.recv(&mut [0; 16]).is_err(),
                    "{backend:?}: a name was caught with {passes:?}"
                );
            }
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn ports_ranges_and_interfaces_are_included_and_excluded_as_annotations_say() {
    in_a_network("ports_ranges_and_interfaces_are_included_and_excluded_as_annotations_say", || {
        for backend in BACKENDS {
            let _proxy = listen(Ipv4Addr::UNSPECIFIED.into(), 15001);
            let caught_with = |setting: Interception, to: &[&str]| -> Vec<bool> {
                apply(&setting, &families_here(), backend).unwrap();
                to.iter().map(|to| caught(to)).collect()
            };
            let some = Interception {
                included_outbound_ranges: Some(vec!["198.51.100.0/24".parse().unwrap()]),
                included_outbound_ports: [9443].into(),
                ..Interception::default()
            };
            let found = caught_with(some, &["198.51.100.7:80", "192.0.2.7:80", "192.0.2.7:9443"]);
            assert_eq!(found, [true, false, true], "{backend:?}");
            let none = Interception { included_outbound_ranges: Some(Vec::new()), ..Interception::default() };
            assert_eq!(caught_with(none, &["192.0.2.7:80"]), [false], "{backend:?}");
            let interface =
                Interception { excluded_interfaces: ["eth0".to_owned()].into(), ..Interception::default() };
            assert_eq!(caught_with(interface, &["192.0.2.7:80"]), [false], "{backend:?}");
            let other =
                Interception { excluded_interfaces: ["net1".to_owned()].into(), ..Interception::default() };
            assert_eq!(caught_with(other, &["192.0.2.7:80"]), [true], "{backend:?}");
            remove(&families_here(), backend).unwrap();
        }
    });
}

#[test]
fn the_check_finds_out_whether_the_rules_are_in_force() {
    in_a_network("the_check_finds_out_whether_the_rules_are_in_force", || {
        let setting = Interception::default();
        let families = families_here();
        // Long enough for a packet that stays on this machine, and not waited for where all is well.
        let patient = Duration::from_secs(60);
        let missing =
            when_free(|| check::check(&setting, &families[..1], Duration::from_millis(200))).unwrap_err();
        assert!(matches!(&missing, check::CheckError::NotInForce(what) if what.len() == 2), "{missing}");
        for backend in BACKENDS {
            apply(&setting, &families, backend).unwrap();
            let proven = when_free(|| check::check(&setting, &families, patient)).unwrap();
            let arrived = proven.iter().filter(|it| matches!(it, check::Proven::Arrived { .. })).count();
            assert_eq!(arrived, 2 * families.len(), "{backend:?}: {proven:?}");
            // Others than those that are asked for.
            let other = Interception { outbound_port: 25001, ..setting.clone() };
            let wrong =
                when_free(|| check::check(&other, &families[..1], Duration::from_millis(200))).unwrap_err();
            assert!(wrong.to_string().contains("did not come to port 25001"), "{backend:?}: {wrong}");
            remove(&families, backend).unwrap();
        }
    });
}

#[test]
fn the_first_packet_filter_that_the_kernel_takes_rules_from_is_used() {
    in_a_network("the_first_packet_filter_that_the_kernel_takes_rules_from_is_used", || {
        let families = families_here();
        assert_eq!(apply(&Interception::default(), &families, Backend::Auto).unwrap(), "nft");
        // Rules of any other are gone afterwards, whichever it was.
        apply(&Interception::default(), &families, Backend::IptablesLegacy).unwrap();
        apply(&Interception::default(), &families, Backend::IptablesNft).unwrap();
        let rules = |tool: &str| {
            let saved = Command::new(tool).args(["-t", "nat"]).output().unwrap();
            String::from_utf8_lossy(&saved.stdout).matches("WEFT_OUTPUT").count()
        };
        assert!(rules("iptables-nft-save") > 0);
        assert_eq!(rules("iptables-legacy-save"), 0);
        remove(&families, Backend::Auto).unwrap();
        assert_eq!(rules("iptables-nft-save"), 0);
    });
}

/// A program that a failing test does not leave behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is answered at an address; empty when nobody listens there.
fn page(method: &str, at: &str, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(at) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

fn start_in_a_pod(folder: &std::path::Path) -> Running {
    let at = |name: &str| folder.join(name).display().to_string();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(at("root.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(at("token"), "token").unwrap();
    std::fs::write(at("labels"), "app=\"reviews\"\n").unwrap();
    let mut sidecar = Command::new(env!("CARGO_BIN_EXE_weft-proxy"));
    sidecar.args(["run", "--from-pod", "--discovery-address", "10.9.0.1:15012", "--concurrency", "1"]);
    sidecar.args(["--pod-info-dir", &at("."), "--trust-bundle", &at("root.pem")]);
    sidecar.args(["--join-token-file", &at("token"), "--state-dir", &at("state")]);
    sidecar.envs([
        ("POD_NAME", "reviews-1"),
        ("POD_NAMESPACE", "shop"),
        ("POD_IP", "10.9.0.2"),
        ("SERVICE_ACCOUNT", "reviews"),
        ("WEFT_APP_PROBES", r#"{"/app-health/app/livez": {"tcpSocket": {"port": 9080}}}"#),
    ]);
    Running(sidecar.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_sidecar_in_a_pod_answers_the_kubelet_and_ends_when_the_pod_says_so() {
    in_a_network("a_sidecar_in_a_pod_answers_the_kubelet_and_ends_when_the_pod_says_so", || {
        let folder = tempfile::tempdir().unwrap();
        let _application = listen(Ipv4Addr::UNSPECIFIED.into(), 9080);
        let mut sidecar = start_in_a_pod(folder.path());
        let deadline = Instant::now() + Duration::from_secs(60);
        let probed = loop {
            let said = page("GET", "10.9.0.2:15020", "/app-health/app/livez");
            if !said.is_empty() || Instant::now() > deadline {
                break said;
            }
            std::thread::yield_now();
        };
        assert!(probed.contains(" 200 "), "{probed}");
        // At the pod's address, and not ready without a configuration.
        let ready = page("GET", "10.9.0.2:15021", "/ready");
        assert!(ready.contains(" 503 ") && ready.contains("NOT READY"), "{ready}");
        assert!(page("GET", "10.9.0.2:15090", "/metrics").contains("weft_control_plane_connected 0"));
        assert_eq!(page("GET", "10.9.0.2:15000", "/ready"), "", "the admin endpoint is for the pod alone");
        assert!(page("POST", "10.9.0.2:15020", "/quitquitquit").contains(" 403 "));
        assert!(page("POST", "127.0.0.1:15020", "/quitquitquit").contains(" 200 "));
        while sidecar.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::yield_now();
        }
        assert!(sidecar.0.wait().unwrap().success());
    });
}
