#!/usr/bin/env bash
# images.sh FOLDER: the bookshop's images, as archives. Each service is in its own language; where this machine lacks a
# language, Python takes its place, as in `weft demo`.
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=$1 sources=deploy/demo
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
has() { command -v "$1" >/dev/null 2>&1; }
# image SERVICE VERSION OPTIONS…
image() {
  local name=weft-bookshop-$1-$2
  shift 2
  deploy/images/mkimage.py "$out/$name.tar" "localhost/$name:1" --user 65534:65534 "$@"
}

# The interpreter and its library, without what programs do not need.
python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
# script SERVICE VERSION FILE
script() {
  image "$1" "$2" --file "$python:$python" --tree "$library:$library" --without test --without site-packages --without dist-packages \
    --without __pycache__ --without ensurepip --without idlelib --without tkinter --without lib2to3 --without turtledemo --without 'config-*' \
    --file "$sources/$3:/srv/$3" --entry "$python,/srv/$3"
}

script shop v1 shop.py
rustc --edition 2024 -O -o "$work/details" "$sources/details.rs"
image details v1 --program "$work/details:/srv/details" --entry /srv/details
script reviews v1 reviews.py
if has node; then
  node=$(readlink -f "$(command -v node)")
  image reviews v2 --file "$node:/usr/bin/node" --file "$sources/reviews.js:/srv/reviews.js" --entry /usr/bin/node,/srv/reviews.js
else
  script reviews v2 reviews.py
fi
if has jlink && has javac; then
  javac -d "$work/classes" "$sources/Reviews.java"
  jlink --add-modules java.base,java.net.http,jdk.httpserver --strip-debug --no-man-pages --no-header-files --output "$work/java"
  image reviews v3 --tree "$work/java:/opt/java" --tree "$work/classes:/srv" --entry /opt/java/bin/java,-cp,/srv,Reviews
else
  script reviews v3 reviews.py
fi
if has go && (cd "$sources" && GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/ratings" ratings.go); then
  image ratings v1 --file "$work/ratings:/srv/ratings" --entry /srv/ratings
else
  script ratings v1 ratings.py
fi
cc -O2 -static -o "$work/stock" "$sources/stock.c"
image stock v1 --file "$work/stock:/srv/stock" --entry /srv/stock
