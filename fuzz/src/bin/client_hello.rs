//! ClientHellos: no input panics, and more bytes never take back what fewer have told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::client_hello::{Parsed, parse};

fuzz_target!(|input: &[u8]| {
    let mut told = Parsed::Partial;
    for length in 0..=input.len() {
        let parsed = parse(&input[..length]);
        if told != Parsed::Partial {
            assert_eq!(parsed, told, "with {length} bytes");
        }
        if let Parsed::Complete(hello) = &parsed {
            assert!(hello.server_name.as_deref().is_none_or(|name| name == name.to_ascii_lowercase()));
        }
        told = parsed;
    }
});
