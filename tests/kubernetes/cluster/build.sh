#!/usr/bin/env bash
# Builds what a cluster is made of, once, into a cache outside the checkout, and prints the folder:
# hyperkube (etcd and Kubernetes' components in one program), coredns, kwok. About 12 CPU minutes the first time.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
version=v1.34.4

key=$(cat "$here"/components/*/{go.mod,go.sum} "$here"/components/*/*.go "$0" | sha256sum | cut -c1-16)
cache=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}/kubernetes/$key
mkdir -p "$cache"

# build NAME FOLDER PACKAGE GO-FLAGS...
build() {
  local name=$1 folder=$2 package=$3
  shift 3
  [ -x "$cache/$name" ] && return 0
  echo "==> building $name ($(date +%T))" >&2
  # Into another name first: a build that was cut off must not pass for a finished one.
  (cd "$here/components/$folder" && CGO_ENABLED=0 go build -trimpath "$@" -o "$cache/.$name.new" "$package")
  mv "$cache/.$name.new" "$cache/$name"
}

stamp=""
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
  stamp+=" -X $package.gitCommit=0000000000000000000000000000000000000000 -X $package.buildDate=2026-01-01T00:00:00Z"
done
build hyperkube hyperkube . -mod=readonly -tags netgo,osusergo -ldflags "-s -w$stamp"
build coredns coredns . -mod=readonly -ldflags "-s -w"
build kwok kwok sigs.k8s.io/kwok/cmd/kwok -mod=mod -ldflags "-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=v0.7.0"
for component in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sf hyperkube "$cache/$component"
done
echo "$cache"
