#!/usr/bin/env bash
# What `make test` runs after the set-up: style, lints, then the tests, the scenarios last. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."
# The reason of a failure should not be lost among the frames below it.
export RUST_BACKTRACE=0
step() { printf '\n==> %s (%s)\n' "$1" "$(date +%T)"; }

step "formatting"
cargo fmt --all --check
# All targets at once: features are the same for the binaries and for the tests, so that nothing is built twice.
step "building the tests and the binaries that scenarios run"
cargo build --workspace --all-targets
step "clippy"
cargo clippy --workspace --all-targets -- -D warnings
step "a real Envoy, to read what the control plane writes"
WEFT_TEST_ENVOY=$(scripts/fetch-envoy.sh)
export WEFT_TEST_ENVOY
step "unit and golden tests"
cargo test --workspace --lib --bins
step "scenarios with the real binaries"
cargo test --workspace --test '*'
