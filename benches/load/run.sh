#!/usr/bin/env bash
# benches/load/run.sh WORKLOAD PEER... [--rounds N] [--dur S] [--warm S] [--quiet-wait S] [--conns N] [--rate R]
#   WORKLOAD: w1 w2 w2h2 w3 w4 w4pair w4up w5 w6 w6empty w7 w8 w8pair ("all" for the whole list)
# Everything runs in a network + pid namespace of its own: only its own loopback,
# no port clash with anything else on the machine, and whatever was started dies with it.
# Builds what it needs and lacks (see build.sh). Needs root (unshare), python3, wrk, h2load, openssl, cargo.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/build.sh"
for argument in "$@"; do
  case $argument in
  --*) break ;; # options follow, whose values are no peers
  weft*) build_weft ;;
  envoy-*) fetch_envoy ;;
  esac
done
build_tools
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
exec unshare --net --pid --fork --mount-proc --kill-child python3 "$here/bench.py" "$@"
