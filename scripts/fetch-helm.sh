#!/usr/bin/env bash
# The real Helm, built from its Go module into a cache outside the checkout, to hold the chart against `weft install`.
# Prints the path of its binary.
set -euo pipefail
version=v3.19.4
home=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}/helm/$version
if [ ! -x "$home/helm" ]; then
  command -v go > /dev/null || { echo "fetch-helm.sh: go is missing; scripts/setup.sh kubernetes installs it" >&2; exit 1; }
  echo "==> building Helm $version (Go module helm.sh/helm/v3); a few minutes, once" >&2
  mkdir -p "$home"
  # Installed beside and moved, so that a build that was interrupted leaves nothing that looks finished.
  half=$(mktemp -d "$home/.build.XXXXXX")
  trap 'rm -rf "$half"' EXIT
  GOBIN=$half CGO_ENABLED=0 go install -trimpath -ldflags="-s -w" "helm.sh/helm/v3/cmd/helm@$version" >&2
  mv "$half/helm" "$home/helm"
fi
echo "$home/helm"
