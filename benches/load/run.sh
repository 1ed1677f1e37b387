#!/usr/bin/env bash
# benches/load/run.sh WORKLOAD PEER... [--rounds N] [--dur S] [--warm S] [--quiet-wait S] [--conns N] [--rate R]
#   WORKLOAD: w1 w2 w2h2 w3 w4 w4pair w4up w5 w6 w6empty w7 w8 w8pair ("all" for the whole list)
# Everything runs in a network + pid namespace of its own: only its own loopback,
# no port clash with anything else on the machine, and whatever was started dies with it.
# Needs root (unshare), python3, wrk, h2load, openssl, cargo (for the bench's own tools).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export BENCH_DIR=$here
export BENCH_SCRATCH=${BENCH_SCRATCH:-${TMPDIR:-/tmp}/mesh-bench}
export BENCH_TARGET=${BENCH_TARGET:-$BENCH_SCRATCH/target}
mkdir -p "$BENCH_SCRATCH"
export MB=${MB:-$BENCH_TARGET/release/mb}
export HPROXY=${HPROXY:-$BENCH_TARGET/release/hproxy}
if [ ! -x "$MB" ]; then
  (cd "$here/tools/mb" && CARGO_TARGET_DIR=$BENCH_TARGET cargo build --release >&2)
fi
export CERTS=${CERTS:-$BENCH_SCRATCH/certs}
[ -s "$CERTS/ca.pem" ] || "$here/certs.sh" "$CERTS" >&2
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec unshare --net --pid --fork --mount-proc --kill-child python3 "$here/bench.py" "$@"
