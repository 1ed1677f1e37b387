#!/usr/bin/env bash
# scripts/check-images.sh: what scripts/images.sh built is imported into a containerd of its own, and the programs in it
# are run as a pod would run them. Needs root, containerd and runc; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$(mktemp -d) server=""
clean_up() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  # A container that was cut off leaves its mounts.
  { grep " $home/" /proc/self/mounts || true; } | cut -d' ' -f2 | sort -r | while read -r mounted; do umount "$mounted" || true; done
  rm -rf "$home"
}
trap clean_up EXIT
fail() { echo "check-images: $*" >&2; exit 1; }

cat > "$home/containerd.toml" <<X
version = 2
root = "$home/root"
state = "$home/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$home/containerd.sock"
X
containerd --config "$home/containerd.toml" > "$home/log" 2>&1 &
server=$!
container() { ctr --address "$home/containerd.sock" --namespace check "$@"; }
for _ in $(seq 300); do
  container version >/dev/null 2>&1 && break
  kill -0 "$server" 2>/dev/null || fail "containerd ended: $(tail -n 3 "$home/log")"
  sleep 0.1
done

count=0
# run IMAGE EXPECTED PROGRAM ARGUMENT…: what the program says must contain the expected text.
run() {
  local image=$1 expected=$2 said
  shift 2
  count=$((count + 1))
  said=$(container run --rm --read-only --snapshotter native "$image" "check-$count" "$@" 2>&1) || fail "$image: $*: $said"
  case $said in *"$expected"*) ;; *) fail "$image: $* says \`$said\`, not \`$expected\`" ;; esac
}
imported() { container images import --snapshotter native "target/images/$1.tar" | sed -n 's/^unpacking \([^ ]*\) .*/\1/p'; }

proxy=$(imported weft-proxy) control_plane=$(imported weft-control-plane)
version=${proxy##*:}
run "$proxy" "weft-proxy " /usr/local/bin/weft-proxy --version
run "$proxy" "redirect to :15001" /usr/local/bin/weft-proxy intercept print --proxy-uid 1337
run "$proxy" "(nf_tables)" /usr/sbin/iptables --version
run "$proxy" "(nf_tables)" /usr/sbin/ip6tables-nft --version
run "$proxy" "(legacy)" /usr/sbin/iptables-legacy --version
run "$proxy" "nftables v" /usr/sbin/nft --version
# Extensions are found where the program looks for them.
run "$proxy" "--uid-owner" /usr/sbin/iptables -m owner --help
run "$proxy" "--to-ports" /usr/sbin/iptables -j REDIRECT --help
run "$control_plane" "weft-control-plane" /usr/local/bin/weft-control-plane --help

# The image again, but run by root, as a pod's securityContext has it for the init container. This ctr cannot say so.
python3 - target/images/weft-proxy.tar "$home/as-root.tar" <<'PYTHON'
import hashlib, io, json, sys, tarfile
source, out = tarfile.open(sys.argv[1]), tarfile.open(sys.argv[2], "w")
blobs = {member.name: source.extractfile(member).read() for member in source.getmembers()}
def put(name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    out.addfile(info, io.BytesIO(content))
def change(descriptor, edit):
    content = json.loads(blobs["blobs/" + descriptor["digest"].replace(":", "/")])
    edit(content)
    content = json.dumps(content).encode()
    descriptor.update(digest="sha256:" + hashlib.sha256(content).hexdigest(), size=len(content))
    put("blobs/" + descriptor["digest"].replace(":", "/"), content)
index = json.loads(blobs["index.json"])
change(index["manifests"][0], lambda manifest: change(manifest["config"], lambda image: image["config"].update(User="0:0")))
index["manifests"][0]["annotations"]["io.containerd.image.name"] = "localhost/as-root:1"
put("index.json", json.dumps(index).encode())
put("oci-layout", blobs["oci-layout"])
for name, content in blobs.items():
    if name.startswith("blobs/"):
        put(name, content)
out.close()
PYTHON
container images import --snapshotter native "$home/as-root.tar" > /dev/null
# In a network namespace of its own, with two capabilities and a read-only root file system.
for backend in auto nftables iptables-nft iptables-legacy; do
  count=$((count + 1))
  drop=()
  for name in AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT; do
    drop+=(--cap-drop "CAP_$name")
  done
  said=$(container run --rm --read-only --snapshotter native "${drop[@]}" --cap-add CAP_NET_ADMIN localhost/as-root:1 "check-$count" \
    /usr/local/bin/weft-proxy intercept apply --proxy-uid 1337 --backend "$backend" 2>&1) || fail "$backend: $said"
  case $said in *"the rules are in force"*) ;; *) fail "$backend: $said" ;; esac
done

for user in "$proxy=1337:1337" "$control_plane=65532:65532"; do
  digest=$(container images list "name==${user%%=*}" | awk 'NR == 2 { print $3 }')
  config=$(container content get "$digest" | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["digest"])')
  found=$(container content get "$config" | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["User"])')
  [ "$found" = "${user#*=}" ] || fail "${user%%=*} runs as $found"
done

# The same inputs give the same bytes.
for copy in one two; do
  deploy/images/mkimage.py "$home/$copy.tar" localhost/same:1 --file "$(command -v sleep):/bin/sleep" --certificates > /dev/null
done
cmp "$home/one.tar" "$home/two.tar" || fail "two images of the same files differ"
echo "images $version: imported, and their programs run"
