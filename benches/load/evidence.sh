#!/usr/bin/env bash
# benches/load/evidence.sh syscalls|instructions MODE PEER...
#  syscalls:     strace -c of the proxies under load: calls per request, by name
#  instructions: user-space instructions per request (callgrind, two run lengths subtracted)
# Load-independent counts: good on a noisy machine.
set -euo pipefail
export WORKERS=${WORKERS:-1}
. "$(dirname "$0")/build.sh"
if [ -z "${IN_NS:-}" ]; then
  for p in "${@:3}"; do case $p in weft*) build_weft ;; envoy-*) fetch_envoy ;; esac; done
  build_tools
  exec env IN_NS=1 unshare --net --pid --fork --mount-proc --kill-child bash "$0" "$@"
fi
what=$1; export MODE=$2; shift 2
ip link set lo up
"$MB" backend http:9001 h2c:9011 h2c:9012 h2c:9013 > /dev/null & sleep 0.2
export IN_PORT=8100 MID_PORT=8200 BACKENDS=127.0.0.1:9001
[ "$MODE" = grpc ] && BACKENDS="127.0.0.1:9011 127.0.0.1:9012 127.0.0.1:9013"
# The gRPC call of bench.py: a 64-byte message.
{ printf '\0\0\0\0\100\12\76'; printf 'x%.0s' $(seq 62); } > "$BENCH_SCRATCH/grpc.body"
load() { # seconds
  if [ "$MODE" = grpc ]; then
    h2load -t1 -c8 -m20 -D "$1" -d "$BENCH_SCRATCH/grpc.body" -H 'content-type: application/grpc' -H 'te: trailers' "http://$A/b.E/U" 2>&1 | sed -n 's/.* total, .* started, \([0-9]*\) done.*/\1/p'
  else "$MB" load --addr "$A" --conns "${CONNS:-64}" --dur "$1" | sed 's/.*"requests":\([0-9]*\),.*/\1/'; fi
}
for p in "$@"; do
  export RUN=$BENCH_SCRATCH/run/ev-$p; rm -rf "$RUN"; mkdir -p "$RUN"
  export PIN=; [ "$what" = instructions ] && PIN="valgrind -q --tool=callgrind --callgrind-out-file=$RUN/cg.%p --dump-instr=no"
  "$BENCH_DIR/peers/$p.sh" start > "$RUN/start.log" 2>&1
  sleep "${SETTLE:-$([ "$what" = instructions ] && echo 15 || echo 2)}"
  A=127.0.0.1:$IN_PORT; while read -r r v; do [ "$r" = ADDR ] && A=$v; done < "$RUN/pids" || true
  load 1 > /dev/null || true
  mapfile -t tops < <(awk '$1 == "A" || $1 == "B" {print $2}' "$RUN/pids")
  pids=(); for t in "${tops[@]}"; do pids+=("$t"); for c in $(cat /proc/$t/task/*/children); do pids+=("$c"); done; done
  if [ "$what" = syscalls ]; then
    args=(); for t in "${pids[@]}"; do args+=(-p "$t"); done
    strace -qq -f -c -U name,calls -o "$RUN/strace" "${args[@]}" & s=$!
    sleep 1; n=$(load 3); kill -INT $s; wait $s || true
    awk -v p="$p" -v n="$n" 'NF == 2 && $2 ~ /^[0-9]+$/ && $1 != "total" {t += $2; if ($2 / n > 0.01) l = l sprintf(" %s %.2f", $1, $2 / n)} END {printf "%s: %d requests, %.2f syscalls/request:%s\n", p, n, t / n, l}' "$RUN/strace"
  else
    for t in "${pids[@]}"; do callgrind_control -z "$t" > /dev/null; done
    n=$(load 6)
    for t in "${pids[@]}"; do callgrind_control -d "$t" > /dev/null 2>&1 || true; done
    i=$(cat "$RUN"/cg.* 2>/dev/null | awk '/^(summary|totals):/ {if ($1 == "summary:") s += $2} END {print s + 0}')
    echo "$p: $n requests, $(awk -v i="$i" -v n="$n" 'BEGIN {printf "%.0f", i / n}') user instructions/request"
  fi
  kill -9 "${pids[@]}" 2> /dev/null || true; sleep 0.3
done
