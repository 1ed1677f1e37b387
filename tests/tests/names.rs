//! Names: those of the mesh are answered by the sidecar, all others by whom they would have been asked of without it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario ends at what it did not expect"
)]

use std::fmt::Write as _;

use serde_json::{Value, json};
use weft_tests::mesh::{Mesh, said};
use weft_tests::workload::App;

/// Resolves by the C library, as most programs do, and asks in DNS's own words: prints both as JSON.
const SCRIPT: &str = r#"
import json, socket, struct, sys

def resolve(name):
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        return sorted({it[4][0] for it in found})
    except socket.gaierror as error:
        return {socket.EAI_NONAME: "no such name", socket.EAI_AGAIN: "failure",
                getattr(socket, "EAI_NODATA", None): "no address"}.get(error.errno, str(error))

def ask(name, kind, room, over_tcp):
    labels = b"".join(bytes([len(it)]) + it.encode() for it in name.rstrip(".").split(".")) + b"\0"
    extra = struct.pack("!BHHIH", 0, 41, room, 0, 0) if room else b""
    query = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 1 if room else 0) + labels + struct.pack("!HH", kind, 1) + extra
    if over_tcp:
        with socket.create_connection(("127.0.0.1", 53), timeout=20) as s:
            s.sendall(struct.pack("!H", len(query)) + query)
            stream = s.makefile("rb")
            answer = stream.read(struct.unpack("!H", stream.read(2))[0])
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20)
            s.sendto(query, ("127.0.0.1", 53))
            answer = s.recv(65535)
    number, flags, _, count, _, _ = struct.unpack("!6H", answer[:12])
    assert number == 0x1234
    assert answer[12:12 + len(labels)] == labels, "the question comes back as it was written"
    return {"code": flags & 15, "answers": count, "cut": bool(flags & 0x200)}

asked = json.loads(sys.argv[1])
print(json.dumps({
    "resolve": {name: resolve(name) for name in asked["resolve"]},
    "ask": [ask(*it) for it in asked["ask"]],
}))
"#;

/// Record types.
const A: u16 = 1;
const AAAA: u16 = 28;
const TXT: u16 = 16;

/// What an application gets that asks; its sidecar knows these upstream resolvers.
async fn script(mesh: &Mesh, upstream: &str, asked: &Value) -> Value {
    let options = ["run", "--name", "script", "--upstream-resolver", upstream];
    let command = ["--", "python3", "-c", SCRIPT, &asked.to_string()];
    let text = mesh.good(&[&options[..], &command].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

/// Services of others: one with an IPv4 address only, one with more addresses than fit into a datagram.
fn entries() -> String {
    let mut many = String::new();
    for last in 1..=60 {
        let _ = write!(many, "240.1.0.{last}, ");
    }
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: four}}
spec:
  hosts: [four.test]
  addresses: [240.1.1.4]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 192.0.2.4}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: many}}
spec:
  hosts: [many.test]
  addresses: [{}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 192.0.2.4}}]
",
        many.trim_end_matches(", ")
    )
}

#[tokio::test]
async fn pain_20_names_of_others_are_forwarded_untouched_and_those_of_the_mesh_stay_in_it() {
    let mesh = Mesh::up().await;
    mesh.apply(&entries()).await;
    let reviews = mesh.run("reviews").http().start().await;
    let crowd: Vec<String> = (1..=60).map(|last| format!("crowd.example=192.0.2.{last}")).collect();
    let mut known: Vec<&str> = crowd.iter().map(String::as_str).collect();
    known.extend(["www.example=198.51.100.7", "www.example=2001:db8::7", "six.example=2001:db8::6"]);
    let server =
        mesh.run("names").serve("tcp-dns:5353", App::dns(&known)).option("--no-sidecar").start().await;
    let upstream = format!("{}:5353", server.address(false).await);
    let asked = json!({
        "resolve": [
            "reviews", "Reviews.Default", "reviews.default.svc.cluster.local.", "four.test", "many.test",
            "www.example", "WWW.Example.", "six.example", "crowd.example", "nothing", "nothing.example",
            "reviews.default.svc.cluster.local.example",
        ],
        "ask": [
            ["four.test", AAAA, 0, false], ["FOUR.Test", A, 0, false], ["four.test", TXT, 1232, false],
            ["many.test", A, 0, false], ["many.test", A, 1232, false], ["many.test", A, 0, true],
            ["www.EXAMPLE", A, 0, false], ["crowd.example", A, 0, false], ["crowd.example", A, 0, true],
            ["nothing.default.svc.cluster.local", A, 0, false], ["nothing.example", A, 0, false],
        ],
    });
    let told = script(&mesh, &upstream, &asked).await;

    let resolved = &told["resolve"];
    let ours = resolved["reviews"].clone();
    assert!(ours.as_array().is_some_and(|it| !it.is_empty()), "{told}");
    assert_eq!(resolved["Reviews.Default"], ours);
    assert_eq!(resolved["reviews.default.svc.cluster.local."], ours);
    assert_eq!(resolved["four.test"], json!(["240.1.1.4"]));
    assert_eq!(resolved["many.test"].as_array().map(Vec::len), Some(60), "over TCP, for it does not fit");
    for name in ["www.example", "WWW.Example."] {
        assert_eq!(resolved[name], json!(["198.51.100.7", "2001:db8::7"]), "{name}");
    }
    assert_eq!(resolved["six.example"], json!(["2001:db8::6"]));
    assert_eq!(resolved["crowd.example"].as_array().map(Vec::len), Some(60), "{told}");
    for name in ["nothing", "nothing.example", "reviews.default.svc.cluster.local.example"] {
        assert_eq!(resolved[name], "no such name", "{name}");
    }

    let answer = |code: u8, answers: u8, cut: bool| json!({ "code": code, "answers": answers, "cut": cut });
    let expected = [
        answer(0, 0, false),
        answer(0, 1, false),
        answer(0, 0, false),
        answer(0, 0, true),
        answer(0, 60, false),
        answer(0, 60, false),
        answer(0, 1, false),
        answer(0, 0, true),
        answer(0, 60, false),
        answer(3, 0, false),
        answer(3, 0, false),
    ];
    for (place, expected) in expected.iter().enumerate() {
        assert_eq!(told["ask"][place], *expected, "{}", asked["ask"][place]);
    }

    let log = server.app_log();
    for line in ["asked WWW.Example. A\n", "asked www.EXAMPLE. A\n", "asked six.example. AAAA\n"] {
        assert!(log.contains(line), "{line} is missing:\n{log}");
    }
    assert!(!log.contains("cluster.local. "), "a name of the mesh was asked elsewhere:\n{log}");
    assert!(!log.contains(".test. "), "a name of the mesh was asked elsewhere:\n{log}");
    drop(reviews);
}

#[tokio::test]
async fn pain_20_names_of_the_mesh_are_answered_while_the_upstream_is_away() {
    let mesh = Mesh::up().await;
    let reviews = mesh.run("reviews").http().start().await;
    let asked = json!({
        "resolve": ["reviews", "reviews.default", "nothing.default.svc.cluster.local", "www.example"],
        "ask": [["www.example", A, 0, false], ["www.example", A, 0, true], ["reviews", A, 0, false]],
    });
    // Nobody listens on that port of the workload's own loopback.
    let told = script(&mesh, "127.0.0.1:9", &asked).await;
    let resolved = &told["resolve"];
    assert!(resolved["reviews"].as_array().is_some_and(|it| !it.is_empty()), "{told}");
    assert_eq!(resolved["reviews.default"], resolved["reviews"]);
    // Nobody can say that it does not exist: it may later, and nothing remembers a failure.
    assert_eq!(resolved["www.example"], "failure");
    assert_eq!([&told["ask"][0]["code"], &told["ask"][1]["code"]], [2, 2], "{told}");
    assert_eq!(told["ask"][2]["code"], 0);
    drop(reviews);
}

#[tokio::test]
async fn pain_20_a_trace_tells_who_answers_a_name_and_from_what() {
    let mesh = Mesh::up().await;
    let _reviews = mesh.run("reviews").http().start().await;
    let server = mesh
        .run("names")
        .serve("tcp-dns:5353", App::dns(&["www.example=198.51.100.7"]))
        .option("--no-sidecar")
        .start()
        .await;
    let upstream = format!("{}:5353", server.address(false).await);
    let _shop = mesh.client_with("shop", &["--upstream-resolver", &upstream]).await;

    let told = mesh.json(&["proxy", "dns", "shop", "reviews"]).await;
    assert_eq!(told["steps"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["steps"][0]["objects"], json!(["Service/default/reviews"]));
    assert_eq!(told["steps"][0]["completedBy"], "default.svc.cluster.local");
    let told = mesh.json(&["proxy", "dns", "shop", "www.example"]).await;
    assert_eq!(told["addresses"], json!(["198.51.100.7"]));
    let verdicts: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["own-domain", "own-domain", "own-domain", "forwarded"]);
    assert_eq!(told["steps"][3]["resolver"], upstream);

    let text = mesh.good(&["proxy", "dns", "shop", "Reviews.default."]).await;
    assert!(text.contains("Service/default/reviews") && !text.contains("nobody"), "{text}");
    let nothing = mesh.weft(&["proxy", "dns", "shop", "nothing.example"]).await;
    assert_eq!(nothing.status.code(), Some(4), "{}", said(&nothing));
    assert!(said(&nothing).contains(&format!("forwarded to {upstream}")), "{}", said(&nothing));
    for (arguments, code, words) in [
        (["nobody", "reviews"], 4, "no workload is called `nobody`"),
        (["names", "reviews"], 4, "`names` has no sidecar"),
        (["shop", "no name"], 2, "is no name that DNS knows"),
    ] {
        let output = mesh.weft(&[&["proxy", "dns"], &arguments[..]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}
