# Sourced: one namespace for the control plane with a bridge, one for each node, pod networks routed between them.
CONTROL_PLANE=172.30.0.1
node_address() { echo "172.30.0.$((10 + $1))"; }
pod_range() { echo "10.244.$1.0/24"; }
node_address6() { echo "fd00:172:30::$((10 + $1))"; }
pod_range6() { echo "fd00:10:244:$1::/64"; }

make_network() {
  local nodes=$1 i j
  ip netns add "$(netns cp)"
  within cp sh -c "ip link set lo up; ip link add br0 type bridge; ip addr add $CONTROL_PLANE/24 dev br0; ip link set br0 up
    ip addr add fd00:172:30::1/64 dev br0 nodad
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
  for i in $(seq "$nodes"); do
    ip netns add "$(netns "n$i")"
    within cp ip link add "n$i" type veth peer name eth0 netns "$(netns "n$i")"
    within cp sh -c "ip link set n$i master br0 up; ip route add $(pod_range "$i") via $(node_address "$i")
      ip route add $(pod_range6 "$i") via $(node_address6 "$i")"
    within "n$i" sh -c "ip link set lo up; ip addr add $(node_address "$i")/24 dev eth0; ip link set eth0 up
      ip addr add $(node_address6 "$i")/64 dev eth0 nodad; ip route add default via $CONTROL_PLANE; ip route add default via fd00:172:30::1
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true"
  done
  for i in $(seq "$nodes"); do
    for j in $(seq "$nodes"); do
      [ "$i" != "$j" ] || continue
      within "n$i" sh -c "ip route add $(pod_range "$j") via $(node_address "$j"); ip route add $(pod_range6 "$j") via $(node_address6 "$j")"
    done
  done
}
