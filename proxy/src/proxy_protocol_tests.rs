use proptest::prelude::*;

use super::*;

fn ends(source: &str, destination: &str) -> Option<Ends> {
    Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

#[test]
fn headers_of_the_specification_are_read() {
    let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    assert_eq!(parse(line), Parsed::Header(56, ends("255.255.255.255:65535", "255.255.255.255:65535")));
    let line = b"PROXY TCP6 2001:db8::1 ::1 1 443\r\nGET / HTTP/1.1\r\n";
    assert_eq!(parse(line), Parsed::Header(34, ends("[2001:db8::1]:1", "[::1]:443")));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ff:: ::1 65535 65535\r\n"] {
        assert_eq!(parse(unknown.as_bytes()), Parsed::Header(unknown.len(), None));
    }
    let mut binary = V2.to_vec();
    // With a field that follows the addresses.
    binary.extend([0x21, 0x11, 0, 15, 10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 0xbb, 4, 0, 0]);
    assert_eq!(parse(&binary), Parsed::Header(31, ends("10.0.0.1:80", "10.0.0.2:443")));
    let mut local = V2.to_vec();
    local.extend([0x20, 0x11, 0, 1, 7]);
    assert_eq!(parse(&local), Parsed::Header(17, None));
}

#[test]
fn what_is_no_header_is_told_at_once_and_what_is_wrong_is_refused() {
    for absent in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"POST", b"\x16\x03\x01", b"\r\nGET", b"proxy "]
    {
        assert_eq!(parse(absent), Parsed::Absent, "{absent:?}");
    }
    let long = [V1, &[b'x'; 200]].concat();
    let v2 = |rest: &[u8]| [V2, rest].concat();
    let wrong = [
        b"PROXY TCP4 1.2.3.4 1.2.3.4 80\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 80 80 80\r\n".to_vec(),
        b"PROXY TCP4  1.2.3.4 1.2.3.4 80 80\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 80 80\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +80 80\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 080 80\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 80 65536\r\n".to_vec(),
        b"PROXY UNKNOWNS\r\n".to_vec(),
        b"PROXY TCP4 \xff\r\n".to_vec(),
        long,
        v2(&[0x11, 0x11, 0, 0]),
        v2(&[0x22, 0x11, 0, 0]),
        v2(&[0x21, 0x12, 0, 0]),
        v2(&[0x21, 0x31, 0, 0]),
        v2(&[0x21, 0x11, 0, 3, 1, 2, 3]),
        v2(&[0x21, 0x11, 0xff, 0xff]),
    ];
    for bytes in wrong {
        assert!(matches!(parse(&bytes), Parsed::Malformed(_)), "{bytes:?}: {:?}", parse(&bytes));
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_needs_every_byte(source in address(), destination in address(), first: bool, own: bool) {
        let version = if first { ProxyProtocolVersion::V1 } else { ProxyProtocolVersion::V2 };
        let ends = (!own).then_some(Ends { source, destination });
        let bytes = header(version, ends);
        let Parsed::Header(length, read) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        prop_assert_eq!(length, bytes.len());
        let plain = |ends: Ends| (ends.source.ip().to_canonical(), ends.source.port(),
            ends.destination.ip().to_canonical(), ends.destination.port());
        prop_assert_eq!(read.map(plain), ends.map(plain));
        for shorter in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..shorter]), Parsed::Partial);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>, version in 0_usize..3) {
        let bytes = [[&b""[..], V1, V2][version], &bytes[..]].concat();
        if let Parsed::Header(length, _) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
