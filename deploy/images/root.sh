#!/bin/sh
# root.sh FOLDER PROGRAM…: the root file system of an image under FOLDER. For the Containerfile; `make images` does the
# same by mkimage.py.
set -eu
root=$1
shift
mkdir -p "$root/etc/ssl/certs" "$root/tmp"
chmod 1777 "$root/tmp"
cat > "$root/etc/passwd" <<X
root:x:0:0:root:/:/bin/sh
weft:x:1337:1337:weft:/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/sbin/nologin
X
printf 'root:x:0:\nweft:x:1337:\nnogroup:x:65534:\nnonroot:x:65532:\n' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

# with FILE: the file and the libraries that the loader takes for it.
with() {
  mkdir -p "$root$(dirname "$1")"
  cp -L "$1" "$root$1"
  ldd "$1" 2>/dev/null | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}
for program in "$@"; do
  with "$program"
done
if [ -e "$root/usr/sbin/xtables-nft-multi" ]; then
  extensions=$(dirname "$(find /usr/lib -name libxt_mark.so | head -n 1)")
  for extension in "$extensions"/*.so; do
    with "$extension"
  done
  for name in iptables ip6tables; do
    for verb in "" -save -restore; do
      ln -s xtables-nft-multi "$root/usr/sbin/$name$verb"
      ln -s xtables-nft-multi "$root/usr/sbin/$name-nft$verb"
      ln -s xtables-legacy-multi "$root/usr/sbin/$name-legacy$verb"
    done
  done
fi
