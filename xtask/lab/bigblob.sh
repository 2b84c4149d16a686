#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# bigblob: one layer with one file of 1 GiB, as gzip and as zstd: inflation is what takes the time.
source "$(dirname "$0")/common.sh"
python3 "$here/bigblob.py" "$LAB_WORK/blob"
touch --date="@$lab_time" "$LAB_WORK/blob"
empty_image "$LAB_OUT/gzip"
umoci insert --image "$LAB_OUT/gzip:latest" "$LAB_WORK/blob" /blob
umoci gc --layout "$LAB_OUT/gzip"
convert "oci:$LAB_OUT/gzip:latest" "oci:$LAB_OUT/zstd:latest" --dest-compress-format zstd
