# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts that make the lab's images. `cargo xtask lab` sets:
#   LAB_OUT      the folder to fill; it gets its final name when the script succeeds
#   LAB_IMAGES   the folder of the finished images
#   LAB_WORK     scratch space, removed afterwards
#   MAKE_LAYOUT  the program that writes layouts from text and tar files
set -euo pipefail
: "${LAB_OUT:?}" "${LAB_IMAGES:?}" "${LAB_WORK:?}" "${MAKE_LAYOUT:?}"
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

# Everything in the lab carries this time where a tool lets us choose: 2024-01-01 00:00:00 UTC.
lab_time=1704067200

# Copies an image from one place to another: convert FROM TO [skopeo options]
convert() { skopeo --insecure-policy copy --quiet "${@:3}" "$1" "$2"; }

# Starts an image without layers: empty_image LAYOUT
empty_image() {
  umoci init --layout "$1"
  umoci new --image "$1:latest"
}
