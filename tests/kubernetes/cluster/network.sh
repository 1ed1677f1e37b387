# Sourced: one namespace for the control plane with a bridge, one for each node, pod networks routed between them.
CONTROL_PLANE=172.30.0.1
node_address() { echo "172.30.0.$((10 + $1))"; }
pod_range() { echo "10.244.$1.0/24"; }

make_network() {
  local nodes=$1 i j
  ip netns add "$(netns cp)"
  within cp sh -c "ip link set lo up; ip link add br0 type bridge; ip addr add $CONTROL_PLANE/24 dev br0; ip link set br0 up
    sysctl -qw net.ipv4.ip_forward=1"
  for i in $(seq "$nodes"); do
    ip netns add "$(netns "n$i")"
    within cp ip link add "n$i" type veth peer name eth0 netns "$(netns "n$i")"
    within cp sh -c "ip link set n$i master br0 up; ip route add $(pod_range "$i") via $(node_address "$i")"
    within "n$i" sh -c "ip link set lo up; ip addr add $(node_address "$i")/24 dev eth0; ip link set eth0 up
      ip route add default via $CONTROL_PLANE; sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true"
  done
  for i in $(seq "$nodes"); do
    for j in $(seq "$nodes"); do
      [ "$i" = "$j" ] || within "n$i" ip route add "$(pod_range "$j")" via "$(node_address "$j")"
    done
  done
}
