#!/usr/bin/env bash
# import.sh NODE|all ARCHIVE…: image archives into a node's containerd.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
node=$1
shift
nodes=("$node")
[ "$node" != all ] || mapfile -t nodes < <(cd "$RUN" && ls -d n*)
for node in "${nodes[@]}"; do
  for archive in "$@"; do ctr -a "$RUN/$node/containerd.sock" -n k8s.io images import "$archive" >/dev/null; done
done
