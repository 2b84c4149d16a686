#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# ml: numpy, scipy and pandas as pip installs them, in one layer, as gzip and as zstd: large shared objects.
source "$(dirname "$0")/common.sh"
# pip warns about packages of the machine that have nothing to do with the target folder.
pip=(python3 -m pip install --quiet --root-user-action=ignore --no-compile --target "$LAB_WORK/packages")
"${pip[@]}" numpy scipy pandas 2>"$LAB_WORK/log" || { cat "$LAB_WORK/log" >&2; exit 1; }
empty_image "$LAB_OUT/gzip"
umoci insert --image "$LAB_OUT/gzip:latest" "$LAB_WORK/packages" /usr/lib/python3/dist-packages
umoci gc --layout "$LAB_OUT/gzip"
convert "oci:$LAB_OUT/gzip:latest" "oci:$LAB_OUT/zstd:latest" --dest-compress-format zstd
