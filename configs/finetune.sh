#!/bin/sh
# Goal      the recipes of configs/finetune, three seeds each, beside scikit-learn on the same splits
# Command   configs/finetune.sh [SHARED [OUT [SET...]]]      goes on where it was stopped; OPTIONS="--time 6m" adds options
# Machine   2 cores; 3 minutes of training a run at most, 39 runs, about 2 h (with RAYON_NUM_THREADS=1 and OPTIONS="--time 6m" 1 h
#           17 min on one of two cores of an AMD EPYC server, the other was busy)
# Reached   the table in the README
set -eu
cd "$(dirname "$0")/.."
shared=${1:-../shared}
out=${2:-runs/finetune}
[ $# -gt 2 ] && shift 2 || set --
python=${PYTHON:-python3}
sets=${*:-adult titanic titanic-table heart breast retina sounds xray esol esol.scaffold bbbp bbbp.scaffold gb1}

"$python" benches/compare_sklearn.py prepare "$shared" "$out"
for seed in 0 1 2; do
    for set in $sets; do
        folder="$out/$set-seed$seed"
        { [ -d "$folder" ] && [ ! -f "$folder/run/judgement.json" ]; } || continue
        table=$(ls "$folder"/cases.*)
        # Chest X-rays are few: their recipe tests all of them, in folds.
        split="--split part"
        [ "$set" = xray ] && split=
        # shellcheck disable=SC2086
        target/release/sensorium finetune "configs/finetune/${set%.*}.toml" "$table" $split --seed "$seed" \
            --out "$folder/run" --quiet ${OPTIONS:-}
    done
done
"$python" benches/compare_sklearn.py compare "$out"
"$python" benches/compare_sklearn.py table "$out" | tee "$out/table.md"
