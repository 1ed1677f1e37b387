//! xDS resources: no bytes panic, and what is accepted is encoded to what reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_model::xds::{cluster, endpoint, listener, route};

macro_rules! round_trip {
    ($input:expr, $kind:ident) => {
        if let Ok(resource) = $kind::decode($input) {
            let again = $kind::decode(&$kind::encode(&resource)).expect("what we write, we read");
            // What is not a number is not equal to itself.
            assert!(again == resource || format!("{resource:?}").contains("NaN"), "{resource:#?}\n{again:#?}");
        }
    };
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    match kind % 4 {
        0 => round_trip!(input, listener),
        1 => round_trip!(input, route),
        2 => round_trip!(input, cluster),
        _ => {
            let _ = endpoint::decode(input);
        }
    }
});
