#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# whiteouts: every kind of entry, name and change that layers can hold:
#   tar, links               written entry by entry, see the .txt files
#   sparse-pax, sparse-gnu   sparse files in GNU tar's two forms
#   buildah, umoci           the same changes as two real builders record them
source "$(dirname "$0")/common.sh"

$MAKE_LAYOUT "$LAB_OUT/tar" "$here/whiteouts.txt"
$MAKE_LAYOUT "$LAB_OUT/links" "$here/links.txt"

sparse=$LAB_WORK/sparse/sparse
mkdir -p "$sparse"
truncate --size 16M "$sparse/hole" "$sparse/islands"
for megabyte in 0 6 9 15; do
  printf island | dd of="$sparse/islands" bs=1M seek=$megabyte conv=notrunc status=none
done
for format in posix gnu; do
  tar -C "$LAB_WORK/sparse" --sort=name --mtime="@$lab_time" --sparse --format=$format -cf "$LAB_WORK/$format.tar" sparse
done
$MAKE_LAYOUT "$LAB_OUT/sparse-pax" "$LAB_WORK/posix.tar"
$MAKE_LAYOUT "$LAB_OUT/sparse-gnu" "$LAB_WORK/gnu.tar"

# What a build does to its root file system, in two steps.
first() { # ROOT
  (
    cd "$1"
    mkdir -p gone opaque/inner to-file kept attributes
    for folder in gone opaque opaque/inner to-file kept; do echo old >$folder/old; done
    echo linked >linked-a && ln linked-a linked-b
    ln -s kept to-folder
    echo x >gone-file
    echo x >attributes/capability && setcap cap_net_raw=ep attributes/capability
    echo x >attributes/user && setfattr -n user.lab -v value attributes/user
    install -m 4755 linked-a setuid
    mknod null c 1 3
    mkfifo pipe
    chown 3000000:4000000000 kept/old
    truncate --size 64M sparse && printf tail | dd of=sparse bs=1M seek=33 conv=notrunc status=none
  )
}
second() { # ROOT
  (
    cd "$1"
    rm -r gone gone-file opaque to-file to-folder linked-a
    mkdir opaque to-folder
    for file in opaque/new to-folder/new to-file linked-c; do echo new >$file; done
    chmod 2750 kept
    ln linked-b linked-d
  )
}

builder=(buildah --root "$LAB_WORK/storage" --runroot "$LAB_WORK/run" --storage-driver overlay)
# Its overlay mount outlives it, and a second umount of the same is no error of ours.
trap 'umount -R "$LAB_WORK/storage/overlay" 2>/dev/null || true' EXIT
base=scratch
for step in first second; do
  container=$("${builder[@]}" from "$base")
  $step "$("${builder[@]}" mount "$container")"
  "${builder[@]}" umount "$container" >/dev/null
  "${builder[@]}" commit --quiet --rm "$container" "lab-$step" >/dev/null
  base=localhost/lab-$step
done
"${builder[@]}" push --quiet lab-second "oci:$LAB_OUT/buildah:latest"

empty_image "$LAB_OUT/umoci"
umoci unpack --image "$LAB_OUT/umoci:latest" "$LAB_WORK/bundle"
for step in first second; do
  $step "$LAB_WORK/bundle/rootfs"
  umoci repack --refresh-bundle --image "$LAB_OUT/umoci:latest" "$LAB_WORK/bundle"
done
umoci gc --layout "$LAB_OUT/umoci"
