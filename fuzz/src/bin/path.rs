//! Paths: the normal form is one, has no dot segments, and leaves the query alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_fuzz::path::normalised;

fuzz_target!(|input: &str| {
    let normal = normalised(input);
    assert_eq!(normalised(&normal), normal, "of {input:?}");
    if !input.starts_with('/') {
        return assert_eq!(normal, input);
    }
    let (path, query) = normal.split_once('?').unwrap_or((&normal, ""));
    assert!(path.starts_with('/') && !path.contains('\\'), "{input:?} became {normal:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{input:?} became {normal:?}");
    assert_eq!(query, input.split_once('?').map_or("", |(_, query)| query));
});
