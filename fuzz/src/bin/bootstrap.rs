//! Envoy's files, YAML or JSON: no input panics, and every mistake says something.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weft_model::bootstrap;
use weft_model::json::Messages;

static MESSAGES: LazyLock<Messages> = LazyLock::new(Messages::envoy);

fuzz_target!(|input: &str| {
    let Err(errors) = bootstrap::read_by(&MESSAGES, input) else { return };
    assert!(!errors.0.is_empty() && errors.0.iter().all(|error| !error.message.is_empty()));
});
