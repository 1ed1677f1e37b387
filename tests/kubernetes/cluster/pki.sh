# Sourced: the cluster's certificates and kubeconfigs, under $STATE/pki and $STATE/conf.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=$1" -out "$1.crt" -addext keyUsage=critical,keyCertSign,cRLSign
}
# certificate NAME SUBJECT AUTHORITY [NAMES]
certificate() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n%s' \
    "${4:+subjectAltName=$4}" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  rm "$1.csr" "$1.ext"
}
# kubeconfig NAME API-SERVER
kubeconfig() {
  cat >"$STATE/conf/$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: weft-test, cluster: {server: "https://$2:6443", certificate-authority: "$STATE/pki/ca.crt"}}]
users: [{name: $1, user: {client-certificate: "$STATE/pki/$1.crt", client-key: "$STATE/pki/$1.key"}}]
contexts: [{name: weft-test, context: {cluster: weft-test, user: $1}}]
current-context: weft-test
EOF
  chmod 600 "$STATE/conf/$1.kubeconfig"
}
# make_certificates API-SERVER NODES
make_certificates() {
  local server=$1 i
  cd "$STATE/pki"
  authority ca
  authority front-proxy-ca
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  local names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate apiserver "/CN=kube-apiserver" ca "IP:127.0.0.1,IP:$server,IP:$API_SERVICE,$names"
  certificate apiserver-kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client" ca
  certificate front-proxy-client "/CN=front-proxy-client" front-proxy-ca
  certificate admin "/O=system:masters/CN=admin" ca
  certificate controller-manager "/CN=system:kube-controller-manager" ca
  certificate scheduler "/CN=system:kube-scheduler" ca
  certificate proxy "/CN=system:kube-proxy" ca
  for i in admin controller-manager scheduler proxy; do kubeconfig "$i" "$server"; done
  for i in $(seq "$2"); do
    certificate "n$i" "/O=system:nodes/CN=system:node:n$i" ca "DNS:n$i,IP:$(node_address "$i")"
    kubeconfig "n$i" "$server"
  done
  cd - >/dev/null
}
