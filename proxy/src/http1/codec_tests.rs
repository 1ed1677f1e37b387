//! Both ends together: a whole hop, and real peers.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::test_support::{Raw, dateless, echo, local, pair};
use super::*;
use crate::body::Body;
use crate::io::Io;

/// Starts a hop: every connection is served by forwarding to `upstream`, with a pool.
fn hop(listener: TcpListener, upstream: std::net::SocketAddr) {
    let pool: Rc<RefCell<Vec<ClientConnection>>> = Rc::default();
    tokio::task::spawn_local(async move {
        while let Ok((downstream, _)) = listener.accept().await {
            let pool = pool.clone();
            tokio::task::spawn_local(async move {
                let settings = dateless();
                let handler = |request| forward(request, pool.clone(), upstream);
                let _ = serve(Io::from(downstream), &settings, std::future::pending(), handler).await;
            });
        }
    });
}

async fn forward(
    mut request: Request<Body>,
    pool: Rc<RefCell<Vec<ClientConnection>>>,
    upstream: std::net::SocketAddr,
) -> Response<Body> {
    let tunnel = upgrade_requested(request.headers()).is_some();
    strip_request(request.headers_mut(), tunnel);
    let pooled = pool.borrow_mut().pop();
    let connection = match pooled {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(upstream).await.unwrap();
            ClientConnection::new(stream.into(), ClientSettings::default())
        }
    };
    let on_idle: Rc<dyn OnIdle> = Rc::new(move |connection| pool.borrow_mut().push(connection));
    match connection.send(&mut request, Some(on_idle)).await {
        Ok(mut response) => {
            let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            strip_response(response.headers_mut(), switched);
            response
        }
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

/// A hop in front of an upstream that answers with [`echo`]; where to connect, and the upstream's request count.
async fn echo_hop() -> std::net::SocketAddr {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream_address = upstream.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = upstream.accept().await {
            tokio::task::spawn_local(async move {
                let settings = dateless();
                let _ = serve(Io::from(stream), &settings, std::future::pending(), echo).await;
            });
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    hop(listener, upstream_address);
    address
}

#[test]
fn requests_travel_through_a_hop_in_both_framings() {
    local(async {
        let address = echo_hop().await;
        let mut client = Raw::new(TcpStream::connect(address).await.unwrap());
        client.write("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
        client.until("POST /1 [hello]").await;
        client
            .write("POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
            .await;
        client.until("POST /2 [abcdef]").await;
        let large = "x".repeat(1 << 20);
        client.write(format!("POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", large.len())).await;
        client.write(&large).await;
        client.until(&format!("POST /3 [{large}]")).await;
    });
}

/// A second request hidden in the first one's framing never reaches the upstream: the upstream here counts
/// connections and bytes, and must see neither.
#[test]
fn a_request_that_could_smuggle_another_is_never_forwarded() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    let cases = [
        (post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("Content-Length: 0\r\nContent-Length: 33\r\n", hidden), 400),
        (post("Content-Length: 0, 33\r\n", hidden), 400),
        (post("Content-Length: +33\r\n", hidden), 400),
        (post("Content-Length : 33\r\n", hidden), 400),
        (post("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("Transfer-Encoding:\u{b}chunked\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("Transfer-Encoding: xchunked\r\n", &format!("0\r\n\r\n{hidden}")), 501),
        (post("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", &format!("0\r\n\r\n{hidden}")), 400),
        (post("X: a\r\n Content-Length: 33\r\n", hidden), 400),
        (post("X: a\rContent-Length: 33\r\n", hidden), 400),
        (post("X: a\nContent-Length: 33\r\n", hidden), 400),
        (post("X: a\0\r\n", hidden), 400),
        (format!("GET / HTTP/1.1\nHost: x\n\n{hidden}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n{hidden}"), 400),
        (format!("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"), 400),
        (format!("GET / HTTP/2.0\r\nHost: x\r\n\r\n{hidden}"), 505),
    ];
    local(async {
        for (text, status) in cases {
            let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            hop(listener, upstream.local_addr().unwrap());
            let mut client = Raw::new(TcpStream::connect(address).await.unwrap());
            client.write(&text).await;
            let answer = client.rest().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {answer:?}");
            assert!(answer.contains("connection: close\r\n"), "{text:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{text:?}: only one answer, then closed");
            // The client has its answer, so whatever would be forwarded has been by now.
            let forwarded = upstream.into_std().unwrap().accept().is_ok();
            assert!(!forwarded, "{text:?} was forwarded");
        }
    });
}

/// A body that turns bad midway: what was good may have been forwarded, what follows must not be, and the upstream
/// must be able to tell that the request is not whole.
#[test]
fn a_chunked_body_that_turns_bad_is_not_ended_towards_the_upstream() {
    local(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        hop(listener, upstream.local_addr().unwrap());
        let mut client = Raw::new(TcpStream::connect(address).await.unwrap());
        client
            .write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        let mut seen = Vec::new();
        let _ = upstream.accept().await.unwrap().0.read_to_end(&mut seen).await;
        let seen = String::from_utf8(seen).unwrap();
        assert!(!seen.contains("hidden") && !seen.contains("0\r\n\r\n"), "{seen:?}");
        assert!(client.rest().await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn an_upgrade_travels_through_a_hop() {
    local(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        hop(listener, upstream.local_addr().unwrap());
        let mut client = Raw::new(TcpStream::connect(address).await.unwrap());
        client
            .write(
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nclient first",
            )
            .await;
        let mut server = Raw::new(upstream.accept().await.unwrap().0);
        let head = server.until("\r\n\r\n").await;
        assert!(head.contains("upgrade: websocket\r\nconnection: upgrade\r\n"), "{head}");
        server
            .write("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nserver first")
            .await;
        server.until("client first").await;
        let answer = client.until("server first").await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("upgrade: websocket\r\n"), "{answer}");
        drop(client);
        assert_eq!(server.rest().await, "");
    });
}

/// Python, when the machine has it: a client and a server nobody here wrote.
fn python(script: &str, arguments: &[String]) -> Option<tokio::process::Child> {
    tokio::process::Command::new("python3")
        .arg("-c")
        .arg(script)
        .args(arguments)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .ok()
}

#[test]
fn pythons_client_is_served_over_one_connection() {
    let script = r#"
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
c.request("GET", "/get"); r = c.getresponse(); assert r.read() == b"GET /get []", r.status
c.request("POST", "/sized", body=b"abc"); assert c.getresponse().read() == b"POST /sized [abc]"
c.request("POST", "/chunked", body=iter([b"abc", b"def"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
assert c.getresponse().read() == b"POST /chunked [abcdef]"
c.request("HEAD", "/head"); r = c.getresponse(); assert r.read() == b"" and r.headers["content-length"] == "13"
s = c.sock
c.request("GET", "/again"); assert c.getresponse().read() == b"GET /again []" and c.sock is s
print("passed")
"#;
    local(async {
        let address = echo_hop().await;
        let Some(mut child) = python(script, &[address.port().to_string()]) else { return };
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "passed\n");
    });
}

#[test]
fn pythons_server_is_spoken_to_in_both_versions() {
    let script = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        if self.path == "/sized": self.send_header("Content-Length", str(len(body)))
        else: self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;
    local(async {
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let Some(mut child) = python(script, &[version.to_owned()]) else { return };
            let mut port = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
            let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
            let pool: Rc<RefCell<Vec<ClientConnection>>> = Rc::default();
            for path in ["/sized", "/sized", "/until-close"] {
                let request = Request::post(path).header("host", "x").body(Body::from("abc")).unwrap();
                let response = forward(request, pool.clone(), upstream).await;
                assert_eq!(response.status(), 200, "{version} {path}");
                assert_eq!(
                    response.into_body().collect().await.unwrap().to_bytes(),
                    "abc",
                    "{version} {path}"
                );
                let expected = usize::from(version == "HTTP/1.1" && path == "/sized");
                assert_eq!(pool.borrow().len(), expected, "{version} {path}");
            }
        }
    });
}

#[test]
fn small_messages_take_one_write() {
    local(async {
        let (client, server) = pair().await;
        let connection = ClientConnection::new(client.into(), ClientSettings::default());
        let mut request = Request::post("/").header("host", "x").body(Body::from("hello")).unwrap();
        let mut buffer = [0; 4096];
        let (_, n) = tokio::join!(
            async {
                let sending = connection.send(&mut request, None);
                tokio::select! { biased; _ = sending => {}, () = tokio::task::yield_now() => {} }
            },
            async {
                server.readable().await.unwrap();
                server.try_read(&mut buffer).unwrap()
            }
        );
        assert!(buffer[..n].ends_with(b"\r\n\r\nhello"));
    });
}

#[test]
fn both_ends_work_over_tls_and_the_connection_is_used_again() {
    local(async {
        let (client, server) = crate::io::tests::tls_pair().await;
        let serving = tokio::task::spawn_local(async move {
            serve(server, &dateless(), std::future::pending(), echo).await
        });
        let pool: Rc<RefCell<Vec<ClientConnection>>> = Rc::default();
        let mut connection = ClientConnection::new(client, ClientSettings::default());
        for size in [0, 5, 200_000] {
            let body = "x".repeat(size);
            let mut request = Request::post("/").header("host", "x").body(Body::from(body.clone())).unwrap();
            let back = pool.clone();
            let on_idle: Rc<dyn OnIdle> = Rc::new(move |connection| back.borrow_mut().push(connection));
            let response = connection.send(&mut request, Some(on_idle)).await.unwrap();
            let text = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(text, format!("POST / [{body}]"));
            connection = pool.borrow_mut().pop().unwrap();
            assert!(connection.is_reusable());
        }
        drop(connection);
        assert_eq!(serving.await.unwrap().unwrap(), Served::Closed);
    });
}

/// The seeds of the fuzz targets, and whatever a fuzzer found and somebody added: read whole and byte by byte.
#[test]
fn the_fuzzers_corpus_is_read_alike_whole_and_byte_by_byte() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");
    let mut seeds = 0;
    for entry in std::fs::read_dir(format!("{corpus}http1_head")).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        let limits = HeadLimits::default();
        let whole = parse_request(&mut bytes::BytesMut::from(&seed[..]), &limits);
        let (mut buffer, mut scan, mut parts) = (bytes::BytesMut::new(), head::Scan::default(), Ok(None));
        for byte in &seed {
            buffer.extend_from_slice(&[*byte]);
            parts = head::next_request(&mut buffer, &limits, &mut scan);
            if !matches!(parts, Ok(None)) {
                break;
            }
        }
        assert_eq!(format!("{whole:?}"), format!("{parts:?}"), "{:?}", String::from_utf8_lossy(&seed));
        seeds += 1;
    }
    assert!(seeds > 10, "{seeds}");
}
