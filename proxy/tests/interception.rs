//! The interception rules in the kernel: packets really go where they should. Each test makes network namespaces of
//! its own, as root, and as an ordinary user inside a user namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test program")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, SockRef, Socket, Type};
use weft_proxy::interception::Interception;
use weft_proxy::interception::apply::{Backend, apply, families_here, remove};
use weft_proxy::interception::rules::Family;

const BACKENDS: [Backend; 2] = [Backend::Nftables, Backend::Iptables];

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

/// A listener of one family.
fn listen(ip: IpAddr, port: u16) -> TcpListener {
    let socket = Socket::new(Domain::for_address((ip, port).into()), Type::STREAM, None).unwrap();
    if ip.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((ip, port)).into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
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
fn a_workload_reaches_itself_directly_and_marked_for_itself_through_the_inbound_port() {
    in_a_network("a_workload_reaches_itself_directly_and_marked_for_itself_through_the_inbound_port", || {
        for backend in BACKENDS {
            let setting = Interception::default();
            apply(&setting, &families_here(), backend).unwrap();
            for address in both("10.9.0.2:9080", "[fd09::2]:9080") {
                let application = listen(wildcard(address), 9080);
                let inbound = listen(wildcard(address), 15006);
                // The application to itself, and the proxy to its application.
                for mark in [0, setting.mark] {
                    let mut client = connect(address, mark);
                    let (mut server, _) = application.accept().unwrap();
                    server.write_all(b"app").unwrap();
                    drop(server);
                    let mut said = String::new();
                    client.read_to_string(&mut said).unwrap();
                    assert_eq!(said, "app");
                }
                let _client = connect(address, setting.self_mark());
                assert_eq!(original(&inbound), address, "{backend:?}");
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
            let resolver = UdpSocket::bind("127.0.0.1:15053").unwrap();
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
            assert!(!complete(80, setting.mark), "{backend:?}: a marked connection was caught");
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
