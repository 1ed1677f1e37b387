#!/usr/bin/env bash
# scripts/setup.sh demo|test|bench|images|kubernetes: what the machine lacks, installed (as root) or named (otherwise).
# Knows Debian and Ubuntu. Prints nothing when nothing is missing.
set -euo pipefail

# command:package
demo=(ip:iproute2 iptables:iptables python3:python3 unshare:util-linux setpriv:util-linux cc:gcc make:make)
test=("${demo[@]}" openssl:openssl nft:nftables curl:curl)
bench=("${test[@]}" wrk:wrk h2load:nghttp2-client haproxy:haproxy strace:strace taskset:util-linux)
images=(python3:python3 strip:binutils iptables:iptables nft:nftables ldd:libc-bin)
kubernetes=("${images[@]}" ip:iproute2 openssl:openssl cc:gcc curl:curl containerd:containerd runc:runc conntrack:conntrack
  socat:socat nsenter:util-linux node:nodejs jlink:default-jdk-headless)

purpose=${1:-demo}
case $purpose in
demo) wanted=("${demo[@]}") ;;
test) wanted=("${test[@]}") ;;
bench) wanted=("${bench[@]}") ;;
images) wanted=("${images[@]}") ;;
kubernetes) wanted=("${kubernetes[@]}") ;;
*) echo "usage: scripts/setup.sh demo|test|bench|images|kubernetes" >&2; exit 2 ;;
esac

missing=()
for pair in "${wanted[@]}"; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing+=("${pair##*:}")
done
# A virtual environment for the real Envoy needs Debian's python3-venv beside python3.
if [ "$purpose" != demo ] && ! python3 -c 'import ensurepip' >/dev/null 2>&1; then missing+=(python3-venv); fi
if [ "$purpose" = kubernetes ]; then
  [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  go version 2>/dev/null | grep -qE 'go1\.(2[6-9]|[3-9][0-9])' || { echo "Go 1.26 or newer is missing: https://go.dev/dl" >&2; exit 1; }
fi
command -v cargo >/dev/null 2>&1 || { echo "A Rust toolchain is missing: https://rustup.rs" >&2; exit 1; }
[ ${#missing[@]} -eq 0 ] && exit 0

packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "==> installing Debian packages: $packages"
  apt-get update -qq
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
else
  echo "These packages are missing; install them with:" >&2
  echo "  sudo apt-get install $packages" >&2
  exit 1
fi
