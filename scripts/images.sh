#!/usr/bin/env bash
# scripts/images.sh [release|dev] [TAG]: weft-proxy and weft-control-plane as OCI image archives under target/images,
# without a container engine. deploy/images/Containerfile gives the same for those who have one.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release} tag=${2:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
case $profile in
release) folder=target/release; cargo build --release --workspace --bins ;;
# All targets, as the tests are built: with other targets cargo would choose other features and build everything once more.
dev) folder=target/debug; cargo build --workspace --all-targets ;;
*) echo "usage: scripts/images.sh [release|dev] [TAG]" >&2; exit 2 ;;
esac
out=target/images
mkdir -p "$out"

# The packet filter's programs choose between the kernel's two interfaces, so both are there.
filter=() sbin=/usr/sbin
for program in xtables-nft-multi xtables-legacy-multi nft; do filter+=(--file "$(readlink -f "$sbin/$program"):$sbin/$program"); done
for name in iptables ip6tables; do
  for verb in "" -save -restore; do
    filter+=(--link "xtables-nft-multi:$sbin/$name$verb" --link "xtables-nft-multi:$sbin/$name-nft$verb")
    filter+=(--link "xtables-legacy-multi:$sbin/$name-legacy$verb")
  done
done
extensions=$(dirname "$(find /usr/lib -name libxt_mark.so | head -n 1)")
filter+=(--tree "$extensions:$extensions")

label() { echo --label "org.opencontainers.image.title=$1" --label "org.opencontainers.image.version=$tag" --label org.opencontainers.image.licenses=Apache-2.0; }
# shellcheck disable=SC2046 # a list of words
deploy/images/mkimage.py "$out/weft-proxy.tar" "localhost/weft-proxy:$tag" --program "$folder/weft-proxy:/usr/local/bin/weft-proxy" \
  "${filter[@]}" --certificates --entry /usr/local/bin/weft-proxy --user 1337:1337 $(label weft-proxy)
# shellcheck disable=SC2046
deploy/images/mkimage.py "$out/weft-control-plane.tar" "localhost/weft-control-plane:$tag" \
  --program "$folder/weft-control-plane:/usr/local/bin/weft-control-plane" \
  --certificates --entry /usr/local/bin/weft-control-plane $(label weft-control-plane)
