# Sourced by the other scripts: where a cluster lives, and how its processes are started and remembered.
# CLUSTER names it: clusters of other names run beside each other, but for those without a network of their own.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER=${CLUSTER:-weft}
STATE=${STATE:-/var/tmp/weft-kubernetes/$CLUSTER}
RUN=/run/weft-kubernetes/$CLUSTER # sockets: their paths must be short
# Both families; what has one address only has an IPv4 one, as in most clusters of two.
SERVICES=10.96.0.0/16,fd00:10:96::/112 API_SERVICE=10.96.0.1 DNS_SERVICE=10.96.0.10 PODS=10.244.0.0/16,fd00:10:244::/48
export KUBECONFIG=$STATE/conf/admin.kubeconfig

# The network namespace of `cp` or of node n1, n2 …
netns() { echo "$CLUSTER-$1"; }
# Runs a command there. `ip netns exec` would mount a fresh /sys and hide the control groups.
within() { local where=$1; shift; nsenter --net="/run/netns/$(netns "$where")" "$@"; }
# start NAME WHERE COMMAND…: in the background, in a session of its own, its id remembered. WHERE `host`: here; a node: in its
# network namespace, and among its files as soon as it has such.
start() {
  local name=$1 where=$2 prefix=() mounts
  shift 2
  [ "$where" = host ] || prefix=(nsenter --net="/run/netns/$(netns "$where")")
  mounts=$(pid_of "mounts-$where")
  [ -z "$mounts" ] || prefix+=(--mount="/proc/$mounts/ns/mnt")
  setsid "${prefix[@]}" "$@" >"$STATE/log/$name.log" 2>&1 </dev/null &
  echo "$name $!" >>"$STATE/pids"
}
pid_of() { awk -v name="$1" '$1 == name { print $2 }' "$STATE/pids" | tail -n 1; }
# A zombie is as good as gone: init may be slow to reap.
alive() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
# end PID [SIGNAL]: sends it, and waits until the process is gone.
end() {
  [ -n "${1:-}" ] || return 0
  kill "-${2:-KILL}" "$1" 2>/dev/null || return 0
  for _ in $(seq 200); do alive "$1" || return 0; sleep 0.05; done
}
# await SECONDS WHAT COMMAND…: until the command succeeds.
await() {
  local seconds=$1 what=$2 last
  shift 2
  for _ in $(seq $((seconds * 10))); do last=$("$@" 2>&1) && return 0; sleep 0.1; done
  echo "gave up waiting for $what: $last" >&2
  return 1
}
began=$(date +%s%N)
say() { awk -v ns="$(($(date +%s%N) - began))" -v what="$*" 'BEGIN { printf "    %5.1f s  %s\n", ns / 1e9, what }'; }
