#!/usr/bin/env bash
# The numbers in the heads of the emoji recipes: three seeds each, then a table.
# Every run that was interrupted goes on where it was; one that is finished is not run again.
# usage: configs/reproduce.sh [RECIPE...]      RECIPE is emoji-clip, emoji-4 or emoji-flava (default: all)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release
for recipe in "${@:-emoji-clip emoji-4 emoji-flava}"; do
    for name in $recipe; do
        for seed in 0 1 2; do
            run="runs/$name-seed$seed"
            [ -e "$run/retrieval.json" ] || target/release/sensorium pretrain "configs/$name.toml" --seed "$seed" --out "$run"
        done
        echo "== $name"
        target/release/sensorium compare "runs/$name-seed"{0,1,2}
    done
done
