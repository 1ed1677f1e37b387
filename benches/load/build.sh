# Sourced: where the bench keeps its things, and how they get there. Everything is under target/bench.
#   BENCH_SCRATCH  per-run configurations and logs, certificates     BENCH_TARGET  release builds
#   MB, HPROXY     the bench's own tools     ENVOY, WEFT, WEFT_RESOURCES     what is measured
bench_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export BENCH_DIR=$bench_root/benches/load
export BENCH_SCRATCH=${BENCH_SCRATCH:-$bench_root/target/bench}
export BENCH_TARGET=${BENCH_TARGET:-$BENCH_SCRATCH/build}
export CERTS=${CERTS:-$BENCH_SCRATCH/certs}
export MB=${MB:-$BENCH_TARGET/release/mb} HPROXY=${HPROXY:-$BENCH_TARGET/release/hproxy}
mkdir -p "$BENCH_SCRATCH"

# Backend and load generator, and the certificates of a mesh.
build_tools() {
  if [ ! -x "$MB" ] || [ "$BENCH_DIR/tools/mb/src/main.rs" -nt "$MB" ]; then
    echo "==> building the load generator" >&2
    (cd "$BENCH_DIR/tools/mb" && CARGO_TARGET_DIR=$BENCH_TARGET nice cargo build --release >&2)
  fi
  [ -s "$CERTS/ca.pem" ] || "$BENCH_DIR/certs.sh" "$CERTS" >&2
}

# The sidecar, and the program that writes its configurations. In a directory of its own: features are unified for
# these two packages alone, as in a released image. WEFT names another binary.
build_weft() {
  [ -n "${WEFT:-}" ] && return
  [ -n "${weft_built:-}" ] && return
  [ -x "$BENCH_TARGET/release/weft-proxy" ] || echo "==> building the sidecar for release (10 minutes at first on 2 cores)" >&2
  (cd "$bench_root" && CARGO_TARGET_DIR=$BENCH_TARGET nice cargo build --release -p weft-proxy -p weft-benches --bins >&2)
  weft_built=yes
}

# The real Envoy, unless ENVOY names one.
fetch_envoy() {
  if [ -z "${ENVOY:-}" ]; then ENVOY=$("$bench_root/scripts/fetch-envoy.sh"); export ENVOY; fi
}
