#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 2
# tiny: a static busybox in one layer, in each form that a registry may hold:
#   tar gzip zstd zstd-chunked   OCI images that differ only in compression
#   docker                       Docker's schema 2, as a `dir:` of skopeo
#   arm64, multi                 another architecture, and an index of both with an attestation
source "$(dirname "$0")/common.sh"

# The package of an architecture is fetched by apt with lists of its own, which leaves the machine's alone.
root_of() { # ARCHITECTURE
  local place=$LAB_WORK/$1
  mkdir -p "$place/lists/partial" "$place/root"
  chmod -R go+rX "$LAB_WORK"
  local apt=(apt-get -qq -o "APT::Architecture=$1" -o "APT::Architectures::=$1"
    -o "Dir::State::Lists=$place/lists" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$place" && "${apt[@]}" download "busybox-static:$1")
  dpkg-deb --fsys-tarfile "$place"/busybox-static_*.deb | tar -C "$place/root" -x --wildcards '*/busybox'
  for name in sh ls cat id stat; do ln -sf busybox "$place/root/bin/$name"; done
  mkdir -p "$place"/root/{dev,etc,proc,sys,root} && install -d -m 1777 "$place/root/tmp"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$place/root/etc/passwd"
  # Two blocks of zeros and no more: skopeo's writer of zstd:chunked leaves further ones out, and the diff_id with them.
  tar -C "$place/root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$lab_time" \
    --format=posix --pax-option=delete=atime,delete=ctime --blocking-factor=1 -cf "$LAB_WORK/$1.tar" .
}
root_of amd64
root_of arm64

$MAKE_LAYOUT --compression none "$LAB_OUT/tar" "$LAB_WORK/amd64.tar"
$MAKE_LAYOUT --compression gzip "$LAB_OUT/gzip" "$LAB_WORK/amd64.tar"
$MAKE_LAYOUT "$LAB_OUT/multi" "linux/amd64=$LAB_WORK/amd64.tar" "linux/arm64/v8=$LAB_WORK/arm64.tar"
# Each into a layout of its own: within one layout skopeo takes a blob that is there already, however compressed.
convert "oci:$LAB_OUT/gzip:latest" "oci:$LAB_OUT/zstd:latest" --dest-compress-format zstd
convert "oci:$LAB_OUT/gzip:latest" "oci:$LAB_OUT/zstd-chunked:latest" --dest-compress-format zstd:chunked
convert "oci:$LAB_OUT/gzip:latest" "dir:$LAB_OUT/docker" --format v2s2
convert "oci:$LAB_OUT/multi:arm64" "oci:$LAB_OUT/arm64:latest"
