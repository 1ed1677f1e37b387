use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn the_socket_carries_the_mark_or_is_not_used_at_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    match connect(address, Some(0x5745)).await {
        Ok(stream) => assert_eq!(socket2::SockRef::from(&stream).mark().unwrap(), 0x5745),
        // Without CAP_NET_ADMIN.
        Err(error) => assert!(error.to_string().contains("cannot mark the socket with 0x5745"), "{error}"),
    }
    let unmarked = connect(address, None).await.unwrap();
    assert_eq!(socket2::SockRef::from(&unmarked).mark().unwrap(), 0);
}
