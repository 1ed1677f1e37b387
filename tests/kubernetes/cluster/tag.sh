#!/usr/bin/env bash
# tag.sh OLD NEW: the images of ours get a second tag on every node, as if a new version had been pushed.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
for node in $(cd "$RUN" && ls -d n*); do
  for image in weft-proxy weft-control-plane; do
    ctr -a "$RUN/$node/containerd.sock" -n k8s.io images tag --force "localhost/$image:$1" "localhost/$image:$2" >/dev/null
  done
done
