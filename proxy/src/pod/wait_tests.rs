use std::cell::Cell;

use tokio::net::TcpListener;

use super::*;

async fn page(answers: &[&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answers) = (listener.local_addr().unwrap(), answers.to_vec());
    let asked = Cell::new(0);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let answer = answers[asked.get().min(answers.len() - 1)];
            asked.set(asked.get() + 1);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn told(address: SocketAddr, timeout: Duration) -> WaitArgs {
    WaitArgs { address, timeout }
}

#[tokio::test]
async fn it_waits_until_the_sidecar_says_that_it_is_ready() {
    let local = tokio::task::LocalSet::new();
    let waiting = local.run_until(async {
        let not_yet = "HTTP/1.1 503 Service Unavailable\r\n\r\nno configuration yet\n";
        let address = page(&[not_yet, not_yet, "HTTP/1.1 200 OK\r\n\r\nready\n"]).await;
        until_ready(&told(address, Duration::from_secs(60))).await
    });
    assert_eq!(waiting.await, Ok(()));
}

#[tokio::test]
async fn what_it_said_last_is_told_when_the_time_is_up() {
    let local = tokio::task::LocalSet::new();
    let waiting = local.run_until(async {
        let address = page(&["HTTP/1.1 503 Service Unavailable\r\n\r\n"]).await;
        until_ready(&told(address, Duration::from_millis(300))).await
    });
    let why = waiting.await.unwrap_err();
    assert!(why.contains("503 Service Unavailable") && why.contains("300ms"), "{why}");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let why = until_ready(&told(nobody, Duration::from_millis(150))).await.unwrap_err();
    assert!(why.contains(&nobody.to_string()), "{why}");
}
