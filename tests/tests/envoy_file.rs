//! One file, two proxies: the same Envoy bootstrap is served by the real Envoy and by our sidecar, and clients cannot
//! tell which of them answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_tests::client::{Answer, Client};
use weft_tests::envoy::{Bench, Kind};
use weft_tests::mesh::built;
use weft_tests::wait::{PATIENCE, eventually};

const TYPE: &str = "type.googleapis.com/envoy";

fn at(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn http(port: u16, routes: &Value) -> Value {
    json!({
        "address": at(port),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": format!("{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "in",
            "route_config": {"name": "local", "virtual_hosts": routes},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router")}}],
        }}]}],
    })
}

fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoint = |address: &SocketAddr| json!({"endpoint": {"address": at(address.port())}});
    json!({
        "name": name, "connect_timeout": "5s", "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>()}]},
    })
}

fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({"node": {"id": "one", "cluster": "test"}, "static_resources": {"listeners": listeners, "clusters": clusters}})
}

/// Host, path, headers.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// What a client sees, as far as two proxies must agree.
fn seen(answer: &Answer) -> String {
    format!(
        "{} location={} added={} version={} path={} host={} x-set={}",
        answer.status,
        answer.header("location"),
        answer.header("x-added"),
        answer.field("version"),
        answer.field("path"),
        answer.field("headers.host"),
        answer.field("headers.x-set"),
    )
}

#[tokio::test]
async fn routes_mean_the_same_to_both() {
    let mut bench = Bench::default();
    let (one, two) = (bench.app("v1").await, bench.app("v2").await);
    let virtual_hosts = json!([
        {"name": "shop", "domains": ["shop.example", "*.shop.example"], "routes": [
            {"match": {"path": "/exact"}, "direct_response": {"status": 418, "body": {"inline_string": "teapot"}}},
            {"match": {"prefix": "/old/"}, "redirect": {"path_redirect": "/new", "response_code": "FOUND"}},
            {"match": {"prefix": "/secure"}, "redirect": {"https_redirect": true}},
            {"match": {"prefix": "/v2/"}, "route": {"cluster": "two", "prefix_rewrite": "/"}},
            {"match": {"safe_regex": {"regex": "/item/[0-9]+"}}, "route": {"cluster": "two"}},
            {"match": {"prefix": "/", "headers": [{"name": "x-user", "string_match": {"exact": "tester"}}]},
             "route": {"cluster": "two", "host_rewrite_literal": "two.example"},
             "request_headers_to_add": [{"header": {"key": "x-set", "value": "yes"}}],
             "response_headers_to_add": [{"header": {"key": "x-added", "value": "also"}}]},
            {"match": {"prefix": "/", "query_parameters": [{"name": "v", "string_match": {"exact": "2"}}]}, "route": {"cluster": "two"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "one"}},
        ]},
        {"name": "nothing", "domains": ["nothing.example"], "routes": []},
    ]);
    let clusters = [cluster("one", &[one]), cluster("two", &[two])];
    let mut answers = Vec::new();
    for (name, kind) in [("envoy", Kind::Envoy), ("weft", Kind::Weft)] {
        let port = Bench::port();
        let file = bootstrap(&[http(port, &virtual_hosts)], &clusters);
        bench.proxy(name, kind, &file, SocketAddr::from(([127, 0, 0, 1], port))).await;
        let client = Client::here();
        let mut found = Vec::new();
        let requests: [Asked; 12] = [
            ("shop.example", "/", &[]),
            ("a.shop.example", "/some?x=1", &[]),
            ("shop.example", "/exact", &[]),
            ("shop.example", "/exact/not", &[]),
            ("shop.example", "/old/thing?q=1", &[]),
            ("shop.example", "/secure/x?y=z", &[]),
            ("shop.example", "/v2/deep/path?q", &[]),
            ("shop.example", "/item/42", &[]),
            ("shop.example", "/item/42x", &[]),
            ("shop.example", "/who", &[("x-user", "tester")]),
            ("nothing.example", "/", &[]),
            ("unknown.example", "/", &[]),
        ];
        for (host, path, headers) in requests {
            let mut call =
                client.request("GET", &format!("http://127.0.0.1:{port}{path}")).header("host", host);
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let answer = call.send().await;
            found.push(format!("{host}{path} {headers:?}: {}", seen(&answer)));
        }
        answers.push(found);
    }
    assert_eq!(answers[1], answers[0]);
    assert!(answers[0][6].contains("version=v2 path=/deep/path"), "{:#?}", answers[0]);
}

#[tokio::test]
async fn rules_let_the_same_connections_in() {
    let mut bench = Bench::default();
    let app = bench.app("v1").await;
    let rules = |action: &str, permission: Value| {
        json!({"name": "envoy.filters.network.rbac", "typed_config": {
            "@type": format!("{TYPE}.extensions.filters.network.rbac.v3.RBAC"), "stat_prefix": "tcp.",
            "rules": {"action": action, "policies": {"one": {
                "permissions": [permission],
                "principals": [{"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}]}}}}})
    };
    let port = |port: u16| json!({"destination_port": port});
    let mut answers = Vec::new();
    for (name, kind) in [("envoy", Kind::Envoy), ("weft", Kind::Weft)] {
        let ports: Vec<u16> = (0..4).map(|_| Bench::port()).collect();
        let chains = [
            vec![],
            vec![rules("ALLOW", port(ports[1])), rules("DENY", port(1))],
            vec![rules("ALLOW", port(1))],
            vec![rules("ALLOW", port(ports[3])), rules("DENY", json!({"any": true}))],
        ];
        let listeners: Vec<Value> = ports
            .iter()
            .zip(chains)
            .map(|(port, mut filters)| {
                filters.push(json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                "@type": format!("{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "tcp", "cluster": "app"}}));
                json!({"address": at(*port), "filter_chains": [{"filters": filters}]})
            })
            .collect();
        let file = bootstrap(&listeners, &[cluster("app", &[app])]);
        bench.proxy(name, kind, &file, SocketAddr::from(([127, 0, 0, 1], ports[0]))).await;
        let mut found = Vec::new();
        for port in ports {
            let answer = Client::here().request("GET", &format!("http://127.0.0.1:{port}/")).try_send().await;
            found.push(answer.map(|answer| answer.status).ok());
        }
        answers.push(found);
    }
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[0], [Some(200), Some(200), None, None]);
}

/// Sends bytes from an address of this machine, and gives all that comes back.
async fn exchange(from: [u8; 4], port: u16, bytes: &[u8]) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // What is not let in may be reset.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The PROXY protocol, from any of the two to any of the two: who calls is known behind a proxy, over HTTP and TCP.
#[tokio::test]
async fn load_balancers_say_whose_connection_it_is() {
    let mut bench = Bench::default();
    let who = json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": "x-who", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
            {"header": {"key": "x-direct", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}},
            {"header": {"key": "x-port", "value": "%DOWNSTREAM_LOCAL_PORT%"}}]}]}]);
    let route = |cluster: &str| json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]);
    let reads = |port: u16, allow: bool| {
        let mut listener = http(port, &who);
        listener["listener_filters"] = json!([{"name": "envoy.filters.listener.proxy_protocol", "typed_config": {
            "@type": format!("{TYPE}.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"),
            "allow_requests_without_proxy_protocol": allow}}]);
        listener
    };
    let tells = |name: &str, version: &str, port: u16| {
        let mut cluster = cluster(name, &[SocketAddr::from(([127, 0, 0, 1], port))]);
        cluster["transport_socket"] = json!({"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
            "@type": format!("{TYPE}.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"),
            "config": {"version": version},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
                "@type": format!("{TYPE}.extensions.transport_sockets.raw_buffer.v3.RawBuffer")}}}});
        cluster
    };
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let kinds = [("envoy", Kind::Envoy), ("weft", Kind::Weft)];
    let mut behind = Vec::new();
    for (name, kind) in kinds {
        let (required, allowed) = (Bench::port(), Bench::port());
        let file = bootstrap(&[reads(required, false), reads(allowed, true)], &[]);
        bench.proxy(name, kind, &file, SocketAddr::from(([127, 0, 0, 1], required))).await;
        for wrong in [&request[..], b"PROXY TCP4 nobody 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            assert_eq!(exchange([127, 0, 0, 1], required, wrong).await, "", "{name}");
        }
        let answer = exchange([127, 0, 0, 5], allowed, request).await;
        assert!(answer.contains("x-who: 127.0.0.5"), "{name}: {answer}");
        behind.push((name, required));
    }
    for (name, kind) in kinds {
        let ports: Vec<u16> = (0..6).map(|_| Bench::port()).collect();
        let mut listeners = Vec::new();
        let mut clusters = Vec::new();
        for (index, (reader, port)) in behind.iter().enumerate() {
            for (version, at) in [("V1", index), ("V2", index + 2)] {
                listeners.push(http(ports[at], &route(&format!("{reader}-{version}"))));
                clusters.push(tells(&format!("{reader}-{version}"), version, *port));
            }
            listeners.push(json!({"address": at(ports[index + 4]), "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                    "@type": format!("{TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
                    "stat_prefix": "tcp", "cluster": format!("{reader}-V2")}}]}]}));
        }
        let file = bootstrap(&listeners, &clusters);
        bench
            .proxy(&format!("{name}-front"), kind, &file, SocketAddr::from(([127, 0, 0, 1], ports[5])))
            .await;
        for port in ports {
            // Two clients, one after the other: what was told of one is not believed of the other.
            for client in [7, 8, 7] {
                let answer = exchange([127, 0, 0, client], port, request).await;
                let expected = [format!("x-who: 127.0.0.{client}"), format!("x-port: {port}")];
                assert!(expected.iter().all(|it| answer.contains(it)), "{name}: {expected:?}: {answer}");
                assert!(answer.contains("x-direct: 127.0.0.1\r\n"), "{name}: {answer}");
            }
        }
    }
}

/// An authority, and certificates of it, made by OpenSSL.
fn certificates(bench: &Bench) {
    let script = "set -e
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -days 2 -subj /CN=root -out ca.pem
        for name in client server; do
          openssl ecparam -name prime256v1 -genkey -noout -out $name.key
          openssl req -new -key $name.key -subj /CN=$name -out $name.csr
          printf 'subjectAltName=DNS:%s.example,URI:spiffe://cluster.local/ns/default/sa/%s\\nextendedKeyUsage=clientAuth,serverAuth\\n' $name $name >$name.ext
          openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
        done";
    let output = Command::new("sh").args(["-c", script]).current_dir(bench.path(".")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tls(bench: &Bench, own: &str, name: &Value) -> Value {
    let file = |name: &str| json!({"filename": bench.path(name).display().to_string()});
    json!({
        "tls_certificates": [{"certificate_chain": file(&format!("{own}.pem")), "private_key": file(&format!("{own}.key"))}],
        "validation_context": {"trusted_ca": file("ca.pem"), "match_typed_subject_alt_names": [name]},
    })
}

fn socket(kind: &str, common: &Value, more: &Value) -> Value {
    let mut config = json!({"@type": format!("{TYPE}.extensions.transport_sockets.tls.v3.{kind}"), "common_tls_context": common});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": config})
}

#[tokio::test]
async fn certificates_of_files_make_mutual_tls_between_any_two() {
    let mut bench = Bench::default();
    let app = bench.app("v1").await;
    certificates(&bench);
    let all = |cluster: &str| json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]);
    let of_client = json!({"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}});
    let of_server = json!({"san_type": "DNS", "matcher": {"exact": "server.example"}});
    let of_nobody = json!({"san_type": "DNS", "matcher": {"exact": "nobody.example"}});
    let mut servers = Vec::new();
    for (name, kind) in [("server-envoy", Kind::Envoy), ("server-weft", Kind::Weft)] {
        let port = Bench::port();
        let mut listener = http(port, &all("app"));
        listener["filter_chains"][0]["transport_socket"] = socket(
            "DownstreamTlsContext",
            &tls(&bench, "server", &of_client),
            &json!({"require_client_certificate": true}),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        bench.proxy(name, kind, &bootstrap(&[listener], &[cluster("app", &[app])]), address).await;
        servers.push(address);
    }
    let client = Client::here();
    for (name, kind) in [("client-envoy", Kind::Envoy), ("client-weft", Kind::Weft)] {
        let ports: Vec<u16> = (0..3).map(|_| Bench::port()).collect();
        let names = ["to-envoy", "to-weft", "to-nobody"];
        let wanted = [(servers[0], &of_server), (servers[1], &of_server), (servers[1], &of_nobody)];
        let mut listeners = Vec::new();
        let mut clusters = Vec::new();
        for ((port, destination), (server, san)) in ports.iter().zip(names).zip(wanted) {
            listeners.push(http(*port, &all(destination)));
            let mut cluster = cluster(destination, &[server]);
            cluster["transport_socket"] =
                socket("UpstreamTlsContext", &tls(&bench, "client", san), &json!({"sni": "server.example"}));
            clusters.push(cluster);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], ports[2]));
        bench.proxy(name, kind, &bootstrap(&listeners, &clusters), address).await;
        for port in &ports[..2] {
            let url = format!("http://127.0.0.1:{port}/");
            eventually(&format!("{name} answers"), async || {
                let answer = client.request("GET", &url).try_send().await?;
                if answer.field("version") == "v1" {
                    Ok(())
                } else {
                    Err(format!("{} {}", answer.status, answer.text()))
                }
            })
            .await;
        }
        client.get(&format!("http://127.0.0.1:{}/", ports[2])).await.expect(503);
    }
    // Nobody comes in without a certificate.
    for address in servers {
        let place = address.to_string();
        let arguments = ["s_client", "-connect", &place, "-CAfile", "ca.pem", "-ign_eof"];
        let output = Command::new("sh")
            .args(["-c", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl \"$@\"", "sh"])
            .args(arguments)
            .current_dir(bench.path("."))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("200 OK"), "{said}");
    }
}

#[test]
fn a_file_is_checked_and_everything_that_is_wrong_is_told() {
    let bench = Bench::default();
    let mut listener = http(
        1,
        &json!([{"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "none"}}]}]),
    );
    listener["udp_listener_config"] = json!({});
    listener["addres"] = json!({});
    let check = |name: &str, file: &Value| {
        let path = bench.path(name);
        std::fs::write(&path, file.to_string()).unwrap();
        let output = Command::new(built().join("weft-proxy"))
            .arg("--config-path")
            .arg(&path)
            .args(["--mode", "validate"])
            .output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, said) = check("unknown.json", &bootstrap(std::slice::from_ref(&listener), &[]));
    assert!(!ok && said.contains("static_resources.listeners[0].addres: is no field"), "{said}");
    listener.as_object_mut().unwrap().remove("addres");
    let (ok, said) = check("refused.json", &bootstrap(std::slice::from_ref(&listener), &[]));
    assert!(
        !ok && said.contains("static_resources.listeners[0].udp_listener_config: is not supported"),
        "{said}"
    );
    assert!(said.contains("refers to cluster none, which is not known"), "{said}");
    listener.as_object_mut().unwrap().remove("udp_listener_config");
    let (ok, said) = check("good.json", &bootstrap(&[listener], &[cluster("none", &[])]));
    assert!(ok, "{said}");
}

/// Puts a file in the place of another, as whoever changes configuration under a running proxy does.
fn replace(path: &std::path::Path, content: &Value) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content.to_string()).unwrap();
    std::fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn files_of_listeners_and_clusters_are_read_again_when_others_take_their_place() {
    let mut bench = Bench::default();
    let (one, two) = (bench.app("v1").await, bench.app("v2").await);
    let client = Client::here();
    for (name, kind) in [("envoy", Kind::Envoy), ("weft", Kind::Weft)] {
        let port = Bench::port();
        let of = |name: &str| bench.path(&format!("{name}.json"));
        let (listeners, clusters) = (of(&format!("{name}-lds")), of(&format!("{name}-cds")));
        let all = |kind: &str, resource: Value| {
            let mut resource = resource;
            resource["@type"] = format!("{TYPE}.config.{kind}").into();
            json!({"resources": [resource]})
        };
        let mut listener = http(
            port,
            &json!([{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]),
        );
        listener["name"] = "in".into();
        replace(&listeners, &all("listener.v3.Listener", listener));
        replace(&clusters, &all("cluster.v3.Cluster", cluster("app", &[one])));
        let source = |path: &std::path::Path| json!({"resource_api_version": "V3", "path_config_source": {"path": path.display().to_string()}});
        let file = json!({"node": {"id": "one", "cluster": "test"}, "dynamic_resources": {
            "lds_config": source(&listeners), "cds_config": source(&clusters)}});
        bench.proxy(name, kind, &file, SocketAddr::from(([127, 0, 0, 1], port))).await;
        let url = format!("http://127.0.0.1:{port}/");
        let answers = async |version: &str| {
            eventually(&format!("{name} sends to {version}"), async || {
                let answer = client.request("GET", &url).try_send().await?;
                if answer.field("version") == version {
                    Ok(())
                } else {
                    Err(format!("{} {}", answer.status, answer.text()))
                }
            })
            .await;
        };
        answers("v1").await;
        replace(&clusters, &all("cluster.v3.Cluster", cluster("app", &[two])));
        answers("v2").await;
        // What is broken changes nothing; what comes after it is read.
        replace(&clusters, &json!({"resources": [{"@type": "nothing"}]}));
        answers("v2").await;
        replace(&clusters, &all("cluster.v3.Cluster", cluster("app", &[one])));
        answers("v1").await;
    }
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 127.0.0.1, ports: {http: APP}, labels: {app: reviews, version: v1}}
";

const POLICY: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - directResponse: {status: 418}
";

#[tokio::test]
async fn a_control_plane_is_asked_by_either_form_of_ads() {
    let mut bench = Bench::default();
    let app = bench.app("v1").await;
    let policy = bench.path("policy");
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("service.yaml"), SERVICE.replace("APP", &app.port().to_string())).unwrap();
    let control = Bench::port();
    let text = |name: &str| bench.path(name).display().to_string();
    let (state, socket, watched, plain) =
        (text("state"), text("control.sock"), text("policy"), format!("127.0.0.1:{control}"));
    let secure = format!("127.0.0.1:{}", Bench::port());
    let arguments = [
        "run",
        "--state-dir",
        &state,
        "--socket",
        &socket,
        "--config-dir",
        &watched,
        "--listen-tls",
        &secure,
        "--listen-plaintext",
        &plain,
    ];
    bench.start("control-plane", &built().join("weft-control-plane"), &arguments);
    let client = Client::here();
    for (name, form) in [("delta", "DELTA_GRPC"), ("world", "GRPC")] {
        let port = Bench::port();
        let http2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}}}});
        let mut xds = cluster("xds", &[SocketAddr::from(([127, 0, 0, 1], control))]);
        xds["typed_extension_protocol_options"] = http2;
        let file = json!({
            "node": {
                "id": "sidecar~127.0.0.1~client.default~default.svc.cluster.local", "cluster": "client.default",
                "metadata": {"INTERCEPTION_MODE": "NONE", "WEFT_EXPLICIT_OUTBOUND": format!("127.0.0.1:{port}")},
            },
            "static_resources": {"clusters": [xds]},
            "dynamic_resources": {
                "ads_config": {"api_type": form, "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
                "lds_config": {"resource_api_version": "V3", "ads": {}}, "cds_config": {"resource_api_version": "V3", "ads": {}},
            },
        });
        bench.proxy(name, Kind::Weft, &file, SocketAddr::from(([127, 0, 0, 1], port))).await;
        let status = async |wanted: u16| {
            eventually(&format!("{name} answers {wanted}"), async || {
                let call = client
                    .request("GET", &format!("http://127.0.0.1:{port}/"))
                    .header("host", "reviews:9080");
                let answer = call.try_send().await?;
                if answer.status == wanted {
                    Ok(())
                } else {
                    Err(format!("{} {}", answer.status, answer.text()))
                }
            })
            .await;
        };
        status(200).await;
        std::fs::write(policy.join("policy.yaml"), POLICY).unwrap();
        status(418).await;
        std::fs::remove_file(policy.join("policy.yaml")).unwrap();
        status(200).await;
    }
}
