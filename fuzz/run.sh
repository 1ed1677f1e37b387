#!/bin/sh
# Runs libFuzzer targets on stable Rust, without cargo-fuzz.
#   fuzz/run.sh                               all, SECONDS_EACH=60
#   fuzz/run.sh http1_head [libFuzzer options]
# Needs a C++ compiler. Finds land in fuzz/artifacts/; add what they teach to fuzz/corpus/ and to the unit tests.
set -eu
cd "$(dirname "$0")"
if [ $# = 0 ]; then
  for target in src/bin/*.rs; do
    ./run.sh "$(basename "$target" .rs)" "-max_total_time=${SECONDS_EACH:-60}" -print_final_stats=1
  done
  exit
fi
target=$1
shift
[ -f "src/bin/$target.rs" ] || { echo "there is no target $target; there are: $(ls src/bin | sed 's/\.rs$//' | tr '\n' ' ')" >&2; exit 2; }
mkdir -p artifacts "target/corpus/$target"
features=
grep -q weft_model "src/bin/$target.rs" && features="--features model"
# Not for build scripts and macros: --target keeps the flags away from them.
host=$(rustc -vV | sed -n 's/^host: //p')
# shellcheck disable=SC2086  # none or two words
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --release --target "$host" $features --bin "$target"
case $target in http1_*) set -- -dict=http1.dict "$@" ;; esac
# What it learns goes under target/; the seeds in corpus/ are only read.
exec "target/$host/release/$target" -artifact_prefix=artifacts/ "target/corpus/$target" "corpus/$target" "$@"
