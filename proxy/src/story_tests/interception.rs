//! Redirection by the kernel, in a network namespace of its own: as root, or as an ordinary user in a user namespace.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use weft_model::cluster::{Cluster, ClusterName, Discovery};
use weft_model::listener::{Direction, NetworkFilter, TcpProxy};
use weft_model::route::WeightedCluster;

use super::harness::*;

#[test]
fn redirected_connections_go_to_the_listener_of_their_destination() {
    let mut inside = Command::new("unshare");
    inside.args(["--net", "--map-root-user"]).arg(std::env::current_exe().unwrap());
    inside.args([
        "--ignored",
        "--exact",
        "story_tests::interception::inside_of_a_network_namespace",
        "--nocapture",
    ]);
    let output = inside.output().expect("unshare (util-linux) is installed");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}");
}

#[test]
#[ignore = "run by `redirected_connections_go_to_the_listener_of_their_destination` in a namespace"]
fn inside_of_a_network_namespace() {
    run("ip link set lo up");
    run("ip address add 10.9.8.1/32 dev lo");
    run("ip address add fd00:9:8::1/128 dev lo nodad");
    for tables in ["iptables", "ip6tables"] {
        let address = if tables == "iptables" { "10.9.8.1" } else { "fd00:9:8::1" };
        run(&format!("{tables} -t nat -A OUTPUT -p tcp -d {address} -j REDIRECT --to-ports 15001"));
    }
    local(async {
        let backend = Backend::named("by address").await;
        let echo = echo_server("passed through").await;
        let mut snapshot = outbound(vec![to("a")], vec![cluster("a", &[backend.address])]);
        snapshot.listeners.clear();
        let passthrough = Cluster {
            discovery: Discovery::Static(endpoints(&[echo], false)),
            ..cluster(ClusterName::PASSTHROUGH, &[])
        };
        snapshot.clusters.insert(passthrough.name.clone(), Arc::new(passthrough));
        let tcp = NetworkFilter::Tcp(TcpProxy {
            stat_prefix: "passthrough".into(),
            clusters: vec![WeightedCluster::new(ClusterName::PASSTHROUGH, 1)],
            idle_timeout: None,
            hash_source_ip: false,
            metadata_match: Default::default(),
        });
        let mut entry = listener("virtualOutbound", "0.0.0.0", Direction::Outbound, tcp);
        entry.addresses = vec!["0.0.0.0:15001".parse().unwrap(), "[::]:15001".parse().unwrap()];
        entry.use_original_dst = true;
        add_listener(&mut snapshot, entry);
        for (name, address) in [("v4", "10.9.8.1:80"), ("v6", "[fd00:9:8::1]:80")] {
            let mut by_address = listener(name, "127.0.0.1", Direction::Outbound, http_filter("routes"));
            by_address.addresses = vec![address.parse().unwrap()];
            by_address.bind = false;
            add_listener(&mut snapshot, by_address);
        }
        let proxy = Proxy::start(snapshot);
        proxy.at("0.0.0.0").await;
        proxy.at("::").await;
        for address in ["10.9.8.1:80", "[fd00:9:8::1]:80"] {
            assert_eq!(get_once(address.parse().unwrap(), "/").await.body, "by address", "{address}");
        }
        for address in ["10.9.8.1:81", "[fd00:9:8::1]:81"] {
            let address: SocketAddr = address.parse().unwrap();
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut got = [0; 14];
            soon(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut got)).await.unwrap();
            assert_eq!(&got, b"passed through");
        }
        // Sent to the proxy itself it would go round in circles.
        assert_eq!(raw("127.0.0.1:15001".parse().unwrap(), b"").await, "");
    });
}
