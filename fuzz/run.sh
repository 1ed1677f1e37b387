#!/bin/sh
# Runs a libFuzzer target on stable Rust, without cargo-fuzz: fuzz/run.sh http1_head [libFuzzer options]
# Needs a C++ compiler. Finds land in fuzz/artifacts/; add what they teach to fuzz/corpus/ and to the unit tests.
set -eu
cd "$(dirname "$0")"
target=${1:?"usage: fuzz/run.sh TARGET [libFuzzer options]; targets: $(ls src/bin | sed 's/\.rs$//' | tr '\n' ' ')"}
shift
mkdir -p artifacts "target/corpus/$target"
# Not for build scripts and macros: --target keeps the flags away from them.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --release --target "$host" --bin "$target"
# What it learns goes under target/; the seeds in corpus/ are only read.
exec "target/$host/release/$target" -artifact_prefix=artifacts/ -dict=http1.dict "target/corpus/$target" "corpus/$target" "$@"
