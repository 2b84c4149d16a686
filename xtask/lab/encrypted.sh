#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# encrypted: tiny for recipients of each kind, made with throw-away keys in encrypted/keys:
#   tiny-jwe tiny-jwe-zstd   RSA key, JSON Web Encryption
#   tiny-pkcs7 tiny-pgp      certificate, OpenPGP key
#   tiny-partly              an encrypted layer over a clear one
source "$(dirname "$0")/common.sh"
keys=$LAB_OUT/keys
mkdir -p "$keys"
openssl genrsa -out "$keys/jwe.key" 2048 2>/dev/null
openssl rsa -in "$keys/jwe.key" -pubout -out "$keys/jwe.pub" 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=lab -keyout "$keys/pkcs7.key" -out "$keys/pkcs7.crt" 2>/dev/null

# In the scratch folder: an agent's socket must have a short path, and its state is no part of the image.
export GNUPGHOME=$LAB_WORK/gnupg
install -d -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'lab <lab@example.invalid>' default default never 2>/dev/null
gpg --batch --quiet --passphrase '' --pinentry-mode loopback --export-secret-keys >"$keys/pgp.key"
# skopeo looks recipients up in the old form of the key ring.
gpg --batch --quiet --export >"$GNUPGHOME/pubring.gpg"
gpgconf --kill all

encrypt() { # SOURCE NAME RECIPIENT [skopeo options]
  convert "oci:$1:latest" "oci:$LAB_OUT/$2:latest" --encryption-key "$3" "${@:4}"
}
encrypt "$LAB_IMAGES/tiny/gzip" tiny-jwe "jwe:$keys/jwe.pub"
encrypt "$LAB_IMAGES/tiny/zstd" tiny-jwe-zstd "jwe:$keys/jwe.pub"
encrypt "$LAB_IMAGES/tiny/gzip" tiny-pkcs7 "pkcs7:$keys/pkcs7.crt"
encrypt "$LAB_IMAGES/tiny/gzip" tiny-pgp pgp:lab@example.invalid

convert "oci:$LAB_IMAGES/tiny/gzip:latest" "oci:$LAB_WORK/two:latest"
echo secret >"$LAB_WORK/secret"
umoci insert --image "$LAB_WORK/two:latest" "$LAB_WORK/secret" /secret
encrypt "$LAB_WORK/two" tiny-partly "jwe:$keys/jwe.pub" --encrypt-layer -1
