use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::client_hello::tests::hello_of;
use super::*;

const BOTH: Inspection = Inspection { proxy_protocol: None, tls: true, http: true, timeout: Duration::ZERO };

fn protocol(bytes: &[u8]) -> Option<Sniffed> {
    recognise(bytes, BOTH, false)
}

#[test]
fn every_protocol_is_known_as_soon_as_its_bytes_tell_and_never_wrongly_before() {
    let hello = hello_of("reviews.example", &["istio"]);
    let cases: [(&[u8], &str); 6] = [
        (HTTP2_PREFACE, "h2c"),
        (b"GET / HTTP/1.1\r\n", "http/1.1"),
        (b"\r\nPOST /x?y HTTP/1.0\r\n", "http/1.0"),
        (b"PRIVATE /x HTTP/1.1\r\n", "http/1.1"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n", "http/1.1"),
        (&hello, "istio"),
    ];
    for (bytes, expected) in cases {
        let known_after = (0..=bytes.len()).find(|end| protocol(&bytes[..*end]).is_some()).unwrap();
        for end in known_after..=bytes.len() {
            let sniffed = protocol(&bytes[..end]).unwrap();
            assert_eq!(sniffed.application_protocols, [expected], "{end} bytes of {expected}");
        }
    }
}

#[test]
fn protocols_that_only_look_like_http_at_first_are_not_taken_for_it() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"EHLO mail.example\r\n",
        b"get some-key\r\n",
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x03\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSX",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/1.1x",
        b"GET  / HTTP/1.1\r\n",
    ] {
        let sniffed = protocol(bytes).unwrap();
        assert!(sniffed.application_protocols.is_empty(), "{bytes:?}: {sniffed:?}");
    }
}

#[test]
fn a_request_line_longer_than_the_window_is_taken_by_its_beginning() {
    let long = [b"GET /".as_slice(), &[b'a'; WINDOW - 5]].concat();
    assert_eq!(recognise(&long, BOTH, true).unwrap().application_protocols, ["http/1.1"]);
    assert_eq!(recognise(&long, BOTH, false), None);
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn looking_takes_no_byte_however_they_come() {
    let hello = hello_of("reviews.example", &["h2"]);
    for bytes in [&hello[..], b"GET /some/path HTTP/1.1\r\n\r\n", HTTP2_PREFACE, b"\x01\x02\x03"] {
        let (mut client, mut server) = pair().await;
        let writing = async {
            for byte in bytes {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client
        };
        let (sniffed, client) = tokio::join!(sniff(&server, BOTH), writing);
        assert_eq!(sniffed.unwrap().outcome, Outcome::Known);
        drop(client);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }
}

#[tokio::test]
async fn a_client_that_is_silent_is_waited_for_within_the_bound() {
    let (_client, server) = pair().await;
    let inspection = Inspection { timeout: Duration::from_millis(20), ..BOTH };
    assert_eq!(sniff(&server, inspection).await.unwrap().outcome, Outcome::TimedOut);
}

#[tokio::test]
async fn a_client_that_closes_in_the_middle_ends_the_wait_and_its_bytes_stay() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"GE").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(sniff(&server, BOTH).await.unwrap(), Sniffed::nothing(Outcome::Closed));
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"GE");
}

#[tokio::test]
async fn a_declared_protocol_is_not_looked_at() {
    let (_client, server) = pair().await;
    let sniffed = sniff(&server, Inspection::default()).await.unwrap();
    assert_eq!(sniffed, Sniffed::nothing(Outcome::Known));
}
