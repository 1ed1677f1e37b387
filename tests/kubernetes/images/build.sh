#!/usr/bin/env bash
# build.sh BINARIES: the images that a test's cluster needs beside ours, under target/images: pause, coredns, the test's
# application, the bookshop.
set -euo pipefail
cd "$(dirname "$0")/../../.."
binaries=$1 out=target/images
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -static -Os -o "$work/pause" tests/kubernetes/images/pause.c
image=deploy/images/mkimage.py
$image "$out/pause.tar" localhost/pause:1 --file "$work/pause:/pause" --entry /pause
$image "$out/coredns.tar" localhost/coredns:1 --file "$binaries/coredns:/coredns" --entry /coredns --user 0:0
$image "$out/weft-test-app.tar" localhost/weft-test-app:1 --program target/debug/weft-test-app:/weft-test-app --entry /weft-test-app
deploy/demo/kubernetes/images.sh "$out"
