use super::*;

async fn answer(response: &'static [u8]) -> bool {
    let (mut server, client) = tokio::io::duplex(4096);
    let serve = async {
        let mut request = [0; 1024];
        let _ = server.read(&mut request).await;
        let _ = server.write_all(response).await;
        drop(server);
    };
    tokio::join!(serve, answers_ok(client)).1
}

#[tokio::test]
async fn only_status_200_means_ready() {
    assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").await);
    assert!(!answer(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await);
    assert!(!answer(b"SSH-2.0-OpenSSH 200 \r\n").await);
    assert!(!answer(b"").await);
}
