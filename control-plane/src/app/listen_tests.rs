use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use super::*;

#[tokio::test]
async fn the_socket_is_for_its_owner_only_and_nothing_is_left_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let _listener = bind_socket(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_socket_that_answers_is_not_taken_over_but_one_that_was_left_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let first = bind_socket(&path).unwrap();
    let error = bind_socket(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another control plane answers there"), "{error}");
    UnixStream::connect(&path).expect("the first is still there");
    drop(first);
    assert!(path.exists(), "a process that was killed leaves it");
    let _second = bind_socket(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    fs::write(&path, "words").unwrap();
    let error = bind_socket(&path).unwrap_err().to_string();
    assert!(error.contains("no socket") && error.contains("precious"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "words");
}

#[tokio::test]
async fn a_place_where_no_socket_can_be_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = bind_socket(&directory.path().join("missing/api.sock")).unwrap_err().to_string();
    assert!(error.contains("missing/api.sock"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = listen(address).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
