#!/usr/bin/env bash
# Compares one training step on the CPU with the same step on a graphics processor that Mesa's
# lavapipe plays in software: the test of `wgpu` for machines that have no graphics processor.
#
# usage    tests/vulkan.sh [FOLDER OF THE EMOJI SET]
# needs    Debian's mesa-vulkan-drivers (nothing is installed from here); skipped without it
# takes    3 minutes after the build on 2 cores: each kernel is compiled and tuned
# device   VK_DRIVER_FILES names another driver's description
set -euo pipefail
cd "$(dirname "$0")/.."

description=${VK_DRIVER_FILES:-$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' | head -n 1 || true)}
if [ -z "$description" ]; then
    echo "skipped: no Vulkan device (lavapipe is in Debian's mesa-vulkan-drivers)"
    exit 0
fi
# The second name is that of older Vulkan loaders.
export VK_DRIVER_FILES=$description VK_ICD_FILENAMES=$description

data=(${1:+--data "$1"})
cargo run --release --features wgpu --example compare_devices -- configs/emoji.toml flex wgpu \
    --set train.batch=4 --set model.trunk.layers=1 "${data[@]}"
