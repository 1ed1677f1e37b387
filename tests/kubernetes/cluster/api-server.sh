#!/usr/bin/env bash
# api-server.sh stop|start: takes the API server away, and brings it back.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$here/network.sh"
. "$here/control-plane.sh"
BIN=$(cat "$STATE/bin")
case ${1:-} in
stop) end "$(pid_of kube-apiserver)" ;;
start) start_api_server cp "$CONTROL_PLANE" ;;
*) echo "usage: api-server.sh stop|start" >&2; exit 2 ;;
esac
