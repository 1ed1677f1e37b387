#!/usr/bin/env bash
# kwok.sh NODES: adds nodes that only pretend to run pods, for thousands of those. They are tainted: only what tolerates
# `kwok.x-k8s.io/node` goes there. They go with the cluster, or with `kwok.sh 0`.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
nodes=${1:?how many}
kubectl() { "$here/kubectl" "$@"; }
if [ "$nodes" = 0 ]; then
  # Kubernetes itself clears up the pods of nodes that are gone.
  end "$(pid_of kwok)"
  kubectl delete node -l type=kwok >/dev/null
  exit 0
fi
if ! alive "$(pid_of kwok)"; then
  start kwok cp "$(cat "$STATE/bin")/kwok" --kubeconfig="$STATE/conf/admin.kubeconfig" --manage-all-nodes=false \
    --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --cidr=10.128.0.0/14 --node-ip=127.0.0.1 \
    --node-lease-duration-seconds=40 --server-address=127.0.0.1:10247
fi
for i in $(seq "$nodes"); do
  cat <<EOF
---
apiVersion: v1
kind: Node
metadata:
  name: fake-$i
  annotations: {kwok.x-k8s.io/node: fake, node.alpha.kubernetes.io/ttl: "0"}
  labels:
    {type: kwok, kubernetes.io/hostname: fake-$i, kubernetes.io/os: linux, topology.kubernetes.io/region: here,
     topology.kubernetes.io/zone: zone-$((i % 2 + 1))}
spec: {taints: [{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}]}
status:
  allocatable: {cpu: "64", memory: 256Gi, pods: "250"}
  capacity: {cpu: "64", memory: 256Gi, pods: "250"}
EOF
done | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Ready node -l type=kwok --timeout=120s >/dev/null
