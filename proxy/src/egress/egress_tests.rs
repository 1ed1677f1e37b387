use std::io::{Read, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

fn network(text: &str) -> Network {
    text.parse().expect("a range")
}

/// A way out that leads wherever `allowed` says, and the directory of its socket.
fn way_out(allowed: Allowed, resolvers: Vec<SocketAddr>) -> (Egress, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("egress.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    tokio::spawn(serve(listener, allowed, resolvers));
    (Egress::new(path, &[network("10.250.0.0/16"), network("fd57:6566:7400::/64")]), directory)
}

#[tokio::test]
async fn a_connection_that_another_made_carries_bytes_both_ways() {
    let (egress, _directory) = way_out(|_| true, Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(egress.connect(address), listener.accept());
    let (mut near, mut far) = (connected.unwrap(), accepted.unwrap().0);
    near.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    far.read_exact(&mut four).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
}

#[tokio::test]
async fn the_machine_itself_is_not_outside() {
    let (egress, _directory) = way_out(is_outside, Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = egress.connect(listener.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(
        error.to_string(),
        "127.0.0.1 is not outside: a mesh does not lead to loopback, link-local, multicast and reserved addresses"
    );
    for inner in
        ["0.0.0.0", "127.9.9.9", "169.254.169.254", "224.0.0.1", "240.240.0.1", "::", "::1", "fe80::1"]
    {
        assert!(!is_outside(inner.parse().unwrap()), "{inner}");
    }
    for inner in ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "ff02::1"] {
        assert!(!is_outside(inner.parse().unwrap()), "{inner}");
    }
    for outer in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
        assert!(is_outside(outer.parse().unwrap()), "{outer}");
    }
}

#[tokio::test]
async fn errors_keep_their_kind_and_say_why() {
    let (egress, directory) = way_out(|_| true, Vec::new());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = egress.connect(free).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    let gone = Egress::new(directory.path().join("nobody"), &[]);
    let error = gone.connect(free).await.unwrap_err().to_string();
    assert!(error.contains("way out does not answer") && error.contains("weft up"), "{error}");
}

#[tokio::test]
async fn the_machines_resolvers_are_reached_by_number() {
    let resolver = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (egress, _directory) = way_out(is_outside, vec![resolver.local_addr().unwrap()]);
    let socket = egress.resolver_datagrams(0).await.unwrap();
    socket.send(b"question").await.unwrap();
    let mut buffer = [0; 16];
    let (length, from) = resolver.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"question");
    resolver.send_to(b"answer", from).await.unwrap();
    assert_eq!(socket.recv(&mut buffer).await.unwrap(), 6);
    assert_eq!(egress.resolver_datagrams(1).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(egress.resolver_stream(0).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn who_talks_nonsense_is_hung_up_on_and_others_are_served() {
    let (egress, directory) = way_out(|_| true, Vec::new());
    for nonsense in [&b"connect nowhere\n"[..], b"\n", b"\xff\xff\xff\n", &[b'x'; 4096]] {
        let path = directory.path().join("egress.sock");
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.write_all(nonsense).unwrap();
            let mut answer = Vec::new();
            // Hanging up on unread bytes is a reset.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        assert_eq!(answer.await.unwrap(), b"");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    egress.connect(listener.local_addr().unwrap()).await.unwrap();
}

#[test]
fn what_is_inside_is_reached_directly() {
    let egress = Egress::new("/nowhere".into(), &[network("10.250.0.0/16"), network("fd57:6566:7400::/64")]);
    for inside in
        ["10.250.0.7", "10.250.255.255", "::ffff:10.250.0.7", "fd57:6566:7400::9", "127.0.0.1", "::1"]
    {
        assert!(!egress.leads_to(inside.parse().unwrap()), "{inside}");
    }
    for outside in ["10.251.0.1", "192.0.2.1", "fd57:6566:7401::9", "2001:db8::1"] {
        assert!(egress.leads_to(outside.parse().unwrap()), "{outside}");
    }
    for (range, all) in [("0.0.0.0/0", "192.0.2.1"), ("::/0", "2001:db8::1"), ("192.0.2.1/32", "192.0.2.1")] {
        assert!(network(range).contains(all.parse().unwrap()), "{range}");
    }
    for wrong in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
}
