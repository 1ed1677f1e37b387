# Sourced: etcd, API server, controller manager and scheduler.
# start_api_server WHERE ADDRESS: also after it was ended, to bring it back.
start_api_server() {
  start kube-apiserver "$1" "$BIN/kube-apiserver" \
    --etcd-servers=http://127.0.0.1:2379 --bind-address="$2" --advertise-address="$2" --secure-port=6443 \
    --tls-cert-file="$STATE/pki/apiserver.crt" --tls-private-key-file="$STATE/pki/apiserver.key" --client-ca-file="$STATE/pki/ca.crt" \
    --kubelet-client-certificate="$STATE/pki/apiserver-kubelet-client.crt" --kubelet-client-key="$STATE/pki/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file="$STATE/pki/sa.key" --service-account-key-file="$STATE/pki/sa.pub" \
    --requestheader-client-ca-file="$STATE/pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
    --requestheader-username-headers=X-Remote-User \
    --proxy-client-cert-file="$STATE/pki/front-proxy-client.crt" --proxy-client-key-file="$STATE/pki/front-proxy-client.key" \
    --service-cluster-ip-range=$SERVICES --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --enable-aggregator-routing=true --allow-privileged=true --profiling=false
  await 60 "the API server" api_ready
}
api_ready() { [ "$(kubectl get --raw /readyz)" = ok ]; }
kubectl() { "$here/kubectl" "$@"; }

# start_control_plane WHERE ADDRESS
start_control_plane() {
  # State is thrown away, so nothing waits for the disk.
  start etcd "$1" "$BIN/etcd" --name=e --data-dir="$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 --initial-cluster=e=http://127.0.0.1:2380
  start_api_server "$1" "$2"
  say "the API server answers"
  local conf=$STATE/conf
  start kube-controller-manager "$1" "$BIN/kube-controller-manager" --kubeconfig="$conf/controller-manager.kubeconfig" \
    --authentication-kubeconfig="$conf/controller-manager.kubeconfig" --authorization-kubeconfig="$conf/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
    --root-ca-file="$STATE/pki/ca.crt" --service-account-private-key-file="$STATE/pki/sa.key" \
    --cluster-signing-cert-file="$STATE/pki/ca.crt" --cluster-signing-key-file="$STATE/pki/ca.key" \
    --allocate-node-cidrs=false --service-cluster-ip-range=$SERVICES --kube-api-qps=1000 --kube-api-burst=2000
  start kube-scheduler "$1" "$BIN/kube-scheduler" --kubeconfig="$conf/scheduler.kubeconfig" \
    --authentication-kubeconfig="$conf/scheduler.kubeconfig" --authorization-kubeconfig="$conf/scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=1000 --kube-api-burst=2000
  await 60 "the default service account" kubectl -n default get serviceaccount default
}
