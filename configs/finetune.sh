#!/bin/sh
# Goal      fine-tuning on eleven tables, three seeds each, beside scikit-learn on the same splits
# Command   configs/finetune.sh [SHARED [OUT [TIME [SET...]]]]      goes on where it was stopped
# Machine   2 cores; 3 minutes of training a run, 33 runs, about 1 h 45 min
# Reached   the table in the README, by the program of ec72f18, with TIME 6m on one core (RAYON_NUM_THREADS=1) of a busy
#           machine; GB1 with seeds 0 and 1; with two cores and 3m not run yet
set -eu
cd "$(dirname "$0")/.."
shared=${1:-../shared}
out=${2:-runs/finetune}
time=${3:-3m}
[ $# -gt 3 ] && shift 3 || set --
python=${PYTHON:-python3}
sets=${*:-adult titanic titanic-table heart breast retina sounds xray esol bbbp gb1}

"$python" benches/compare_sklearn.py prepare "$shared" "$out"
for seed in 0 1 2; do
    for set in $sets; do
        folder="$out/$set-seed$seed"
        [ -f "$folder/run/judgement.json" ] && continue
        table=$(ls "$folder"/cases.*)
        # One option or value a line, since labels hold blanks.
        options=$("$python" benches/compare_sklearn.py options "$set")
        oldifs=$IFS
        IFS='
'
        # shellcheck disable=SC2086
        target/release/sensorium finetune "$table" $options --split part --seed "$seed" --time "$time" \
            --out "$folder/run" --quiet
        IFS=$oldifs
    done
done
"$python" benches/compare_sklearn.py compare "$out"
"$python" benches/compare_sklearn.py table "$out" | tee "$out/table.md"
