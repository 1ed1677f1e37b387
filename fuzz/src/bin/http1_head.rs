//! Heads: no input panics, any split of it is read alike, and what is accepted cannot be read in two ways.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::http1::{self, BodyLength, HeadLimits};

fuzz_target!(|input: &[u8]| {
    let (heads, refusal) = http1::read_requests(std::iter::once(input));
    let (again, refused_again) = http1::read_requests(input.chunks(1));
    assert_eq!((format!("{heads:?}"), refusal), (format!("{again:?}"), refused_again));
    for head in heads {
        let all = |name: &str| head.headers.get_all(name).iter().count();
        assert!(all("host") <= 1 && all("content-length") <= 1 && all("transfer-encoding") <= 1);
        assert!(all("host") == 1 || head.version == http::Version::HTTP_10);
        match head.body {
            BodyLength::Exact(_) => assert_eq!(all("transfer-encoding"), 0),
            BodyLength::Chunked => assert_eq!(all("content-length"), 0),
            BodyLength::UntilClose => panic!("a request cannot last until the close"),
        }
        for (name, value) in &head.headers {
            assert!(!name.as_str().is_empty());
            assert!(value.as_bytes().iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)));
        }
    }
    let _ = http1::parse_response(&mut input.into(), &http::Method::GET, &HeadLimits::default());
});
