//! PROXY protocol: more bytes never take back what fewer have told, and what is read is written to be read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::proxy_protocol::{Parsed, header, parse};
use weft_model::cluster::ProxyProtocolVersion;

fuzz_target!(|input: &[u8]| {
    let mut told = Parsed::Partial;
    for length in 0..=input.len() {
        let parsed = parse(&input[..length]);
        if told != Parsed::Partial {
            assert_eq!(parsed, told, "with {length} bytes");
        }
        told = parsed;
    }
    let Parsed::Header(length, ends) = told else { return };
    assert!(length <= input.len());
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let written = header(version, ends);
        assert_eq!(parse(&written), Parsed::Header(written.len(), ends));
    }
});
