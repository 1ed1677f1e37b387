#!/usr/bin/env bash
# What `make bench` runs: builds the sidecar, fetches the real Envoy, measures, prints JSON lines and a table.
#   WORKLOADS="w1 w2 w2h2 w3"  PEERS="direct envoy-istio haproxy weft"  ROUNDS=3  DUR=2 (seconds a shot)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/build.sh"
read -ra workloads <<< "${WORKLOADS:-w1 w2 w2h2 w3}"
read -ra peers <<< "${PEERS:-direct envoy-istio haproxy weft}"
rounds=${ROUNDS:-3} dur=${DUR:-2} warm=${WARM:-1}
[ "$(id -u)" -eq 0 ] || { echo "The bench makes a network namespace and raises priorities: run it as root (sudo make bench)." >&2; exit 1; }

build_tools
for peer in "${peers[@]}"; do
  case $peer in weft*) build_weft ;; envoy-*) fetch_envoy ;; esac
done

# A shot: start, warm-up, measurement, stop.
seconds=$((${#workloads[@]} * ${#peers[@]} * rounds * (dur + warm + 2)))
echo "==> ${workloads[*]}: ${peers[*]}; $rounds rounds of ${dur}s shots, about $((seconds / 60 + 1)) minutes" >&2
results=$BENCH_SCRATCH/results-$(date +%Y%m%d-%H%M%S).jsonl
for workload in "${workloads[@]}"; do
  # Twice the time that it should take: a hanging peer does not hang the bench.
  timeout $((seconds * 2 + 120)) "$here/run.sh" "$workload" "${peers[@]}" --rounds "$rounds" --dur "$dur" --warm "$warm" --out "$results"
done
echo
"$here/summary.py" "$results"
echo "JSON lines: $results" >&2
