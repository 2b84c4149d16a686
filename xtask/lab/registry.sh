#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian's docker-registry on a free port of 127.0.0.1, all its state in DIR:
#   registry.sh start DIR [--auth] [--tls]   prints HOST:PORT; --auth: user lab, password lab-secret; --tls: CA in DIR/ca/ca.crt
#   registry.sh push  DIR IMAGES NAME...     copies layouts IMAGES/NAME into it as NAME:latest, digests kept
#   registry.sh stop  DIR
set -euo pipefail

certificates() { # DIR
  [ ! -e "$1/server.crt" ] || return 0
  mkdir -p "$1/ca"
  local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${new[@]}" -days 3650 -subj '/CN=image-client lab CA' -addext keyUsage=critical,keyCertSign \
    -keyout "$1/ca.key" -out "$1/ca/ca.crt" 2>/dev/null
  openssl req "${new[@]}" -subj /CN=localhost -keyout "$1/server.key" -out "$1/server.csr" 2>/dev/null
  openssl x509 -req -in "$1/server.csr" -CA "$1/ca/ca.crt" -CAkey "$1/ca.key" -CAcreateserial -days 3650 \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n') \
    -out "$1/server.crt" 2>/dev/null
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() { # DIR [--auth] [--tls]
  mkdir -p "$1"
  local dir port scheme=http auth='' tls='' option
  dir=$(realpath "$1") port=$(free_port)
  for option in "${@:2}"; do
    case $option in
      --auth)
        htpasswd -Bbn lab lab-secret >"$dir/htpasswd"
        auth="auth: {htpasswd: {realm: lab, path: $dir/htpasswd}}"
        ;;
      --tls)
        certificates "$dir"
        scheme=https tls=", tls: {certificate: $dir/server.crt, key: $dir/server.key}"
        ;;
      *) echo "unknown option: $option" >&2; exit 2 ;;
    esac
  done
  cat >"$dir/config.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $dir/storage}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"$tls}
$auth
YAML
  setsid docker-registry serve "$dir/config.yml" >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  for _ in $(seq 100); do
    if curl -sk -o "$dir/ping" "$scheme://127.0.0.1:$port/v2/"; then
      echo "127.0.0.1:$port" | tee "$dir/host"
      return
    fi
    sleep 0.1
  done
  tail -n 5 "$dir/log" >&2
  exit 1
}

push() { # DIR IMAGES NAME...
  local host options=(--dest-tls-verify=false) name
  host=$(cat "$1/host")
  [ ! -e "$1/ca/ca.crt" ] || options=(--dest-cert-dir "$1/ca")
  [ ! -e "$1/htpasswd" ] || options+=(--dest-creds lab:lab-secret)
  for name in "${@:3}"; do
    skopeo --insecure-policy copy --quiet --all --preserve-digests "${options[@]}" "oci:$2/$name:latest" "docker://$host/$name:latest"
  done
}

stop() { # DIR
  [ -e "$1/pid" ] || return 0
  kill "$(cat "$1/pid")" 2>/dev/null || true
  rm -f "$1/pid"
}

case ${1:-} in
  start | push | stop) "$@" ;;
  *) sed -n '3,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
