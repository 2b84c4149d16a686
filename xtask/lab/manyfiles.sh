#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# version: 1
# manyfiles: one gzip layer of 60,000 small files in 2,400 folders.
source "$(dirname "$0")/common.sh"
python3 "$here/manyfiles.py" "$LAB_WORK/tree"
find "$LAB_WORK/tree" -exec touch --date="@$lab_time" {} +
empty_image "$LAB_OUT"
umoci insert --image "$LAB_OUT:latest" "$LAB_WORK/tree" /
umoci gc --layout "$LAB_OUT"
