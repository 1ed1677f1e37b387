#!/usr/bin/env bash
# tell.sh STATUS: when a run failed, what the cluster has to say before it is taken away.
[ "$1" != 0 ] || exit 0
. "$(dirname "$0")/cluster/settings.sh"
kubectl() { "$here/kubectl" "$@"; }
printf '\n==> it failed; what the cluster says\n'
kubectl get pods -A -o wide 2>&1 | head -n 60
for pod in $(kubectl -n weft-system get pods -o name 2>/dev/null); do
  printf '\n--- %s\n' "$pod"
  kubectl -n weft-system logs "$pod" --all-containers --tail=60 2>&1
  kubectl -n weft-system logs "$pod" --all-containers --previous --tail=20 2>/dev/null
done
kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 30
