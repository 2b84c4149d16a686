#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# debian: a distribution as a build makes it, five layers as umoci records them: debootstrap, two
# installations, a removal, a configuration.
source "$(dirname "$0")/common.sh"
bundle=$LAB_WORK/bundle
root=$bundle/rootfs

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

inside() {
  # The resolver of the machine is lent for the step and not part of the image.
  cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@" \
    >>"$LAB_WORK/log" 2>&1 || { tail -n 20 "$LAB_WORK/log" >&2; exit 1; }
  : >"$root/etc/resolv.conf"
}
packages() {
  inside apt-get update
  inside apt-get install -y --no-install-recommends "$@"
  inside apt-get clean
}
layer() { umoci repack --refresh-bundle --image "$LAB_OUT:latest" "$bundle"; }

empty_image "$LAB_OUT"
umoci config --image "$LAB_OUT:latest" --config.cmd /bin/bash --config.env PATH=/usr/sbin:/usr/bin:/sbin:/bin
umoci unpack --image "$LAB_OUT:latest" "$bundle"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$LAB_WORK/log" 2>&1
rm -f "$root"/var/cache/apt/archives/*.deb
layer
packages python3 git perl ca-certificates
layer
packages build-essential
layer
inside apt-get purge -y git
inside apt-get autoremove -y
rm -rf "$root"/var/lib/apt/lists/*
layer
inside useradd --create-home lab
layer
umoci gc --layout "$LAB_OUT"
