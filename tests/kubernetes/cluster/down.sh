#!/usr/bin/env bash
# Takes a cluster away: ends what up.sh started (by the ids it wrote down), containers, mounts, control groups, namespaces, state.
. "$(dirname "$0")/settings.sh"
[ -e "$STATE/pids" ] || exit 0
nodes=$(cat "$STATE/nodes" 2>/dev/null || echo 0)

# The containers of a node: by the ids that containerd and its shims tell, never by name.
end_containers() {
  local ctr=(ctr -a "$RUN/n$1/containerd.sock" -n k8s.io) task pid file
  for pid in $(timeout 10 "${ctr[@]}" task ls 2>/dev/null | awk 'NR > 1 { print $2 }'); do kill -KILL "$pid" 2>/dev/null; done
  for task in $(timeout 10 "${ctr[@]}" task ls -q 2>/dev/null); do timeout 10 "${ctr[@]}" task delete -f "$task" >/dev/null 2>&1 & done
  wait
  for file in "$RUN/n$1"/containerd/io.containerd.runtime.v2.task/k8s.io/*/{shim,init}.pid; do
    [ ! -e "$file" ] || kill -KILL "$(cat "$file" 2>/dev/null)" 2>/dev/null
  done
}

for i in $(seq "$nodes"); do
  end "$(pid_of "kubelet-n$i")"
  end "$(pid_of "kube-proxy-n$i")"
  end_containers "$i"
  end "$(pid_of "containerd-n$i")"
done
# All that is left, the youngest first.
for pid in $(awk '{ print $2 }' "$STATE/pids" | tac); do end "$pid"; done
awk -v a="$STATE/" -v b="$RUN/" 'index($5, a) == 1 || index($5, b) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
  while read -r mount; do umount -l "$mount" 2>/dev/null; done
for i in $(seq "$nodes"); do
  ip netns del "$(netns "n$i")" 2>/dev/null
  find /sys/fs/cgroup -maxdepth 2 -name "$CLUSTER-n$i" -type d 2>/dev/null | while read -r group; do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
  done
done
ip netns del "$(netns cp)" 2>/dev/null
[ ! -e "$STATE/sysctls.before" ] || while read -r setting value; do echo "$value" >"/proc/sys/$setting"; done <"$STATE/sysctls.before"
rm -rf "$STATE" "$RUN"
rmdir /run/weft-cni 2>/dev/null
exit 0
