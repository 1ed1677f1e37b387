#!/usr/bin/env bash
# What `make test-kubernetes` runs after the set-up: a two-node cluster, our images in it, Weft installed by `weft install`
# and again by the Helm chart, the scenarios after each. With WEFT_TEST_CONTEXT=NAME the user's own cluster is used instead;
# its nodes must have the images, or WEFT_TEST_INSTALL names their registry (see README.md).
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=tests/kubernetes/cluster
# The reason of a failure should not be lost among the frames below it.
export RUST_BACKTRACE=0
step() { printf '\n==> %s (%s)\n' "$1" "$(date +%T)"; }

step "building the programs and the tests"
cargo build --workspace --all-targets
# The test program's path, as cargo tells it.
program() {
  cargo test --workspace --test "$1" --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    it = json.loads(line)
    if it.get("target", {}).get("name") == sys.argv[1] and it.get("executable"): print(it["executable"])' "$1" | tail -n 1
}
scenarios=$(program kubernetes)
within=() context=() helm_context=()
if [ -n "${WEFT_TEST_CONTEXT:-}" ]; then
  context=(--context "$WEFT_TEST_CONTEXT") helm_context=(--kube-context "$WEFT_TEST_CONTEXT")
fi

if [ -z "${WEFT_TEST_CONTEXT:-}" ]; then
  step "building Kubernetes, once"
  binaries=$("$cluster/build.sh")
  step "building images"
  scripts/images.sh dev
  tests/kubernetes/images/build.sh "$binaries"
  step "starting a cluster of two nodes"
  export CLUSTER=weft-test-$$
  # Whatever happens. What ends this script by a signal ends it through `exit`, so that the trap runs.
  trap 'status=$?; trap - EXIT; tests/kubernetes/tell.sh "$status"; "$cluster/down.sh"; exit "$status"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  IMAGES=$PWD/target/images "$cluster/up.sh" nodes 2
  within=(nsenter "--net=/run/netns/$CLUSTER-cp")
  export WEFT_TEST_KUBECTL=$PWD/$cluster/kubectl WEFT_TEST_CLUSTER=$PWD/$cluster
  STATE=${STATE:-/var/tmp/weft-kubernetes/$CLUSTER}
  export STATE KUBECONFIG=$STATE/conf/admin.kubeconfig
  WEFT_TEST_HELM=$(scripts/fetch-helm.sh)
  export WEFT_TEST_HELM
fi

weft() { "${within[@]}" target/debug/weft "${context[@]}" "$@"; }
kubectl() { "${within[@]}" "${WEFT_TEST_KUBECTL:-kubectl}" "${context[@]}" "$@"; }
if [ ${#within[@]} != 0 ] && [ $# = 0 ]; then
  step "parts of the control plane and the command line against the API server, the chart against weft install"
  WEFT_TEST_KUBECONFIG=$KUBECONFIG PATH=$binaries:$PATH "${within[@]}" \
    cargo test --offline --workspace --test 'kubernetes_*' --test helm -- --ignored --test-threads=2
fi
# Debug programs are large, and two cores are few.
settings=(${WEFT_TEST_INSTALL:---set controlPlane.replicas=2})
export WEFT_TEST_INSTALL="${settings[*]}"

step "weft install"
weft install --wait "${settings[@]}"
if [ $# != 0 ]; then
  step "scenarios: $*"
  "${within[@]}" "$scenarios" --ignored --test-threads=1 --nocapture "$@"
  exit
fi
alone=(disruption:: operations::)
last=(scale::)
step "scenarios"
"${within[@]}" "$scenarios" --ignored --test-threads=3 "${alone[@]/#/--skip=}" "${last[@]/#/--skip=}"
step "scenarios: what all share changes under load"
"${within[@]}" "$scenarios" --ignored --test-threads=1 --nocapture "${alone[@]}"

step "weft uninstall, then the same by the Helm chart"
weft uninstall --purge --yes
kubectl wait --for=delete namespace/weft-system --timeout=60s
[ -n "${WEFT_TEST_HELM:-}" ] || WEFT_TEST_HELM=$(scripts/fetch-helm.sh)
helm() { "${within[@]}" "$WEFT_TEST_HELM" "${helm_context[@]}" "$@"; }
helm install weft deploy/helm/weft --namespace weft-system --create-namespace --wait --timeout 150s "${settings[@]}"
"${within[@]}" "$scenarios" --ignored --test-threads=3 bookshop:: jobs::
helm uninstall weft --namespace weft-system --wait >/dev/null

# Last of all: the API server is busy for minutes with forgetting so many pods, and nothing else starts in time meanwhile.
step "a large cluster"
weft install --wait "${settings[@]}"
"${within[@]}" "$scenarios" --ignored --test-threads=1 --nocapture "${last[@]}"
