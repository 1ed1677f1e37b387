#!/usr/bin/env bash
# up.sh api             etcd, API server, controller manager and scheduler on 127.0.0.1, ready in about 4 s
# up.sh nodes N         the same in a network namespace, and N nodes in theirs: containerd, kubelet, kube-proxy, CNI; DNS
# Environment: CLUSTER (weft), STATE, PROXY_MODE (iptables or nftables), IMAGES (folder of *.tar). Undone by down.sh.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
for part in network pki control-plane node; do . "$here/$part.sh"; done

kind=${1:?api or nodes} nodes=0 where=host address=127.0.0.1
if [ "$kind" = nodes ]; then nodes=${2:-2} where=cp address=$CONTROL_PLANE; fi
[ ! -e "$STATE/pids" ] || { echo "cluster $CLUSTER is up, or was not taken down: $here/down.sh" >&2; exit 1; }
BIN=$("$here/build.sh")
mkdir -p "$STATE"/{pki,log,conf} "$RUN"
chmod 700 "$STATE"
: >"$STATE/pids"
echo "$nodes" >"$STATE/nodes"
echo "$BIN" >"$STATE/bin"

if [ "$kind" = nodes ]; then make_network "$nodes"; fi
make_certificates "$address" "$nodes"
say "networks and certificates are made"
start_control_plane "$where" "$address"
[ "$kind" = nodes ] || { say "the control plane is ready"; exit 0; }

IMAGES=${IMAGES:?a folder with image archives: images/build.sh}
# Kubelet changes these for the whole machine.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  echo "$setting $(cat "/proc/sys/$setting")"
done >"$STATE/sysctls.before"
kubectl create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null
starting=()
for i in $(seq "$nodes"); do start_node "$i" & starting+=($!); done
for node in "${starting[@]}"; do wait "$node"; done
say "$nodes nodes are started"
for i in $(seq "$nodes"); do
  await 60 "node n$i" kubectl get node "n$i"
  # As clouds label them: locality is taken from here.
  kubectl label node "n$i" topology.kubernetes.io/region=here topology.kubernetes.io/zone="zone-$i" >/dev/null
  kubectl wait --for=condition=Ready "node/n$i" --timeout=60s >/dev/null
done
kubectl apply -f "$here/dns.yaml" >/dev/null
kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null
say "the cluster is ready"
