# Sourced: a node is a network namespace with containerd, kubelet and kube-proxy, and what a host has of its own in its
# file system: /opt/cni, /etc/cni, /run/weft-cni and /run/netns.
CGROUP_CONTROLLERS="cpu cpuacct cpuset memory devices freezer blkio pids systemd"

# containerd_config FOLDER RUN-FOLDER
containerd_config() {
  cat <<EOF
version = 2
root = "$1/containerd"
state = "$2/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$2/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
EOF
}

# kubelet_config NODE FOLDER RUN-FOLDER ADDRESS
kubelet_config() {
  cat <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $4
containerRuntimeEndpoint: unix://$3/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$CLUSTER-$1
failCgroupV1: false
failSwapOn: false
clusterDNS: [$DNS_SERVICE]
clusterDomain: cluster.local
resolvConf: $2/resolv.conf
podLogsDir: $2/pods-log
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/$1.crt
tlsPrivateKeyFile: $STATE/pki/$1.key
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
maxPods: 200
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 100
kubeAPIBurst: 200
EOF
}

# cni_config FOLDER RANGE RANGE6
cni_config() {
  cat <<EOF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$1/cni/ipam", "ranges": [[{"subnet": "$2"}], [{"subnet": "$3"}]],
   "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
}

# kube_proxy_config NODE ADDRESS
kube_proxy_config() {
  cat <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $STATE/conf/proxy.kubeconfig}
mode: ${PROXY_MODE:-iptables}
hostnameOverride: $1
clusterCIDR: $PODS
bindAddress: $2
healthzBindAddress: "127.0.0.1:10256"
metricsBindAddress: "127.0.0.1:10249"
nodePortAddresses: ["172.30.0.0/24"]
iptables: {minSyncPeriod: 100ms}
nftables: {minSyncPeriod: 100ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
}

# A node's part of each controller's tree. Kubelet wants them to exist; with the unified hierarchy there is one tree.
make_cgroups() {
  local controller tree
  [ -e /sys/fs/cgroup/cgroup.controllers ] && { mkdir -p "/sys/fs/cgroup/$CLUSTER-$1"; return; }
  for controller in $CGROUP_CONTROLLERS; do mkdir -p "/sys/fs/cgroup/$controller/$CLUSTER-$1"; done
  tree=/sys/fs/cgroup/cpuset
  for setting in cpus mems; do cat "$tree/cpuset.$setting" >"$tree/$CLUSTER-$1/cpuset.$setting"; done
}

# Run in a mount namespace of the node: what CNI plugins and their installers find is the node's, and nothing of it the machine's.
# own_files FOLDER
own_files() {
  local top
  for top in etc opt; do
    mkdir -p "$1/$top-upper" "$1/$top-work"
    mount -t overlay overlay -o "lowerdir=/$top,upperdir=$1/$top-upper,workdir=$1/$top-work" "/$top"
  done
  mkdir -p /etc/cni/net.d /opt/cni/bin
  mount --bind "$1/cni/net.d" /etc/cni/net.d
  mount --bind "$1/cni/bin" /opt/cni/bin
  mount --bind "$1/cni/run" /run/weft-cni
  # The names of its pods' network namespaces go with it.
  mount -t tmpfs tmpfs /run/netns
}
export -f own_files

# start_node NUMBER
start_node() {
  local node=n$1 folder=$STATE/n$1 run=$RUN/n$1 address
  address=$(node_address "$1")
  mkdir -p "$folder"/{kubelet,pods-log,cni/net.d,cni/ipam,cni/run} "$run" /run/weft-cni
  # A copy: a CNI plugin that installs itself must not touch the machine's.
  cp -r /usr/lib/cni "$folder/cni/bin"
  make_cgroups "$node"
  cni_config "$folder" "$(pod_range "$1")" "$(pod_range6 "$1")" >"$folder/cni/net.d/10-bridge.conflist"
  containerd_config "$folder" "$run" >"$folder/containerd.toml"
  kubelet_config "$node" "$folder" "$run" "$address" >"$folder/kubelet.yaml"
  kube_proxy_config "$node" "$address" >"$folder/kube-proxy.yaml"
  : >"$folder/resolv.conf"
  start "mounts-$node" "$node" unshare --mount --propagation private \
    bash -euc 'own_files "$1"; touch "$1/mounted"; exec sleep infinity' mounts "$folder"
  await 10 "the file system of $node" test -e "$folder/mounted"
  start "containerd-$node" "$node" containerd --config "$folder/containerd.toml"
  await 30 "containerd of $node" ctr -a "$run/containerd.sock" version
  "$here/import.sh" "$node" "$IMAGES"/*.tar
  ctr -a "$run/containerd.sock" -n k8s.io images label localhost/pause:1 io.cri-containerd.pinned=pinned >/dev/null
  start "kubelet-$node" "$node" "$BIN/kubelet" --config="$folder/kubelet.yaml" --kubeconfig="$STATE/conf/$node.kubeconfig" \
    --hostname-override="$node" --node-ip="$address,$(node_address6 "$1")" --root-dir="$folder/kubelet" --cert-dir="$folder/kubelet/pki" --v=2
  start "kube-proxy-$node" "$node" "$BIN/kube-proxy" --config="$folder/kube-proxy.yaml"
}
