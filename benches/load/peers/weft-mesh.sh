#!/usr/bin/env bash
# Weft's sidecar as in a mesh: its resources come from a file (benches/src/bin/bench-resources.rs), its
# identity from the harness's CA. Access log and metrics on; retries and outlier detection as in envoy-istio.
. "$(dirname "$0")/lib.sh"
W=${WEFT:-$BENCH_TARGET/release/weft-proxy}
R=${WEFT_RESOURCES:-$BENCH_TARGET/release/bench-resources}
sidecar() { # role account admin-port
  local d=$RUN/identity-$1
  mkdir -p "$d"
  cp "$CERTS/$2.pem" "$d/cert-chain.pem"; cp "$CERTS/$2.key" "$d/key.pem"; cp "$CERTS/ca.pem" "$d/root-cert.pem"
  spawn "$1" "$W" run --resources "$RUN/$1.resources" --identity-dir "$d" --concurrency "$WORKERS" \
    --access-log "$RUN/$1.access.log" --admin-address "127.0.0.1:$3" \
    --metadata "workload=$2" --metadata "service=$2" --metadata version=v1 ${WEFT_ARGS:-}
}
case $1 in
supports) echo http grpc tcp pair-h1 pair-h2 pair-tcp routes routes-empty ;;
start)
  "$R" "$MODE" "$RUN"
  if [ -f "$RUN/B.resources" ]; then sidecar B server 8301; fi
  sidecar A client 8300 ;;
esac
