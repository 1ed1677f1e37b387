use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::*;

#[test]
fn a_port_is_listened_on_from_the_moment_it_is_opened() {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = v4.local_addr().unwrap().port();
    assert!(ports().contains(&port));
    if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        assert!(ports().contains(&v6.local_addr().unwrap().port()));
    }
}

#[test]
fn a_connection_is_no_listener() {
    let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 0100007F:0050 01 0\n   1: 00000000:0051 00000000:0000 0A 0\n";
    assert_eq!(read(table), [0x51].into());
}
