#!/usr/bin/env bash
# Weft's sidecar, started with the very file that envoy-istio has: access log, retries, outlier detection, metrics.
. "$(dirname "$0")/lib.sh"
W=${WEFT:-$BENCH_TARGET/release/weft-proxy}
case $1 in
supports) echo http grpc tcp pair-h1 pair-h2 pair-tcp pair-tcp-full routes routes-empty ;;
start)
  python3 "$(dirname "$0")/envoy_conf.py" istio
  for r in B A; do
    [ -f "$RUN/$r.json" ] && spawn $r "$W" -c "$RUN/$r.json" --concurrency "$WORKERS" --log-level error
  done; true ;;
esac
