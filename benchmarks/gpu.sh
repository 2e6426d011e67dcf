#!/usr/bin/env bash
# All that needs a GPU, in at most 12 minutes, from what gpu_bundle.sh collected. No network is needed.
#
#     bash benchmarks/gpu.sh [--bundle outputs/gpu_bundle] [--output outputs/gpu] [--minutes 12] [--dry_run 1]
#
# Most valuable first: a student by recipe_small.yaml, correctness against the CPU, the benchmarks, and rows of the
# original tables at full length. Each step leaves OUTPUT/STEP.json and OUTPUT/STEP.log; a step whose .json is there is
# skipped, so that the same command goes on after an interruption. `--dry_run 1` runs all of it on the CPU, on a part
# of the data.
set -euo pipefail
cd "$(dirname "$0")/.."
bundle=outputs/gpu_bundle output=outputs/gpu minutes=12 dry_run=0
while (($#)); do
    case $1 in
        --bundle) bundle=$2 ;;
        --output) output=$2 ;;
        --minutes) minutes=$2 ;;
        --dry_run) dry_run=$2 ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done
deadline=$((SECONDS + 60 * minutes))
mkdir -p "$output"
bundle=$(realpath "$bundle") output=$(realpath "$output")
scratch=$output/scratch data=$output/scratch/data
export PYTHONPATH=$scratch/site HF_HUB_OFFLINE=1 HF_HOME=$scratch/cache TOKENIZERS_PARALLELISM=false

# Three rows at a time: a single one leaves most of a GPU idle.
rows=("bilstm-15k labels-15k bilstm-56k" "labels-15k-linear bilstm-56k-bert bilstm-56k-linear"
    "bilstm-138k bilstm-138k-hidden200 bilstm-262k" "labels-262k tinybert-262k")
device=cuda rounds=(--rounds 2) steps=() recipe=() many=() text=(--teacher_sentences 20000)
if ((dry_run)); then
    device=cpu rounds=(--rounds 1) many=(--sentences 64 --many 2000) text=(--teacher_sentences 64)
    steps=(--max_steps 4 --eval_strategy epoch)
    recipe=(--transfer_sentences 300 --vocabulary_size 2000) rows=("bilstm-15k labels-15k")
fi
if [ ! -d "$scratch/site" ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --target "$scratch/site.part" "$bundle"/wheels/*.whl
    mkdir -p "$data/bc2gm"
    for file in bc2gm/train.tsv bc2gm/devel.tsv biomedical_unlabeled.txt; do
        gunzip -c "$bundle/data/$file.gz" > "$data/$file"
    done
    if ((dry_run)); then
        for file in train:1500 devel:200; do
            awk -v RS= -v ORS='\n\n' -v last="${file#*:}" 'NR <= last' "$data/bc2gm/${file%:*}.tsv" > "$data/part"
            mv "$data/part" "$data/bc2gm/${file%:*}.tsv"
        done
        sed -i 200q "$data/biomedical_unlabeled.txt"
    fi
    mv "$scratch/site.part" "$scratch/site"
fi

# run STEP COMMAND...: the last line of its output becomes STEP.json.
run() {
    local step=$1 left=$((deadline - SECONDS)) start=$SECONDS
    shift
    if [ -f "$output/$step.json" ]; then
        echo "$step: already done"
    elif ((left <= 10)); then
        echo "$step: no time left"
    elif timeout "$left" "$@" > "$output/$step.log" 2>&1; then
        tail -n 1 "$output/$step.log" > "$output/$step.json"
        echo "$step: $((SECONDS - start)) s: $(cut -c 1-400 "$output/$step.json")"
    else
        echo "$step: failed after $((SECONDS - start)) s"
        grep -v '^ *$' "$output/$step.log" | tail -n 15
    fi
}

student() {
    python3 run_distill.py configs/recipe_small.yaml --teacher_model_name_or_path "$bundle/teacher" \
        --path_to_train "$data/bc2gm/train.tsv" --path_to_val "$data/bc2gm/devel.tsv" \
        --path_to_unlabeled "$data/biomedical_unlabeled.txt" --output_dir "$scratch/student" \
        --signals_dir "$scratch/signals" --disable_tqdm 1 --measure_time 1 "$@" &&
        one_line "$scratch/student/all_results.json"
}
row() {
    python3 benchmarks/reproduce.py --rows "$1" --data "$data" --teacher "$bundle/teacher" --output "$scratch/rows" -- \
        --signals_dir "$scratch/signals" --disable_tqdm 1 --dataloader_num_workers 2 "${@:2}" &&
        one_line "$scratch/rows/$1/all_results.json" "$scratch/rows/$1/row.json"
}
one_line() { python3 -c 'import json, sys; print(json.dumps([json.load(open(file)) for file in sys.argv[1:]]))' "$@"; }
export -f student row one_line
export bundle data scratch

run student bash -c 'student "$@"' student "${steps[@]}" "${recipe[@]}"
set -- --data "$data" --device "$device"
models=(--teacher "$bundle/teacher" --student "$scratch/student")
run correctness python3 benchmarks/gpu_check.py "$@" "${models[@]}"
run inference python3 benchmarks/inference.py "$@" "${rounds[@]}"
run labelling python3 benchmarks/labelling.py "$@" "${rounds[@]}" "${many[@]}" --teacher "$bundle/teacher"
run training python3 benchmarks/training.py "$@" "${rounds[@]}"
run prediction python3 benchmarks/prediction.py "$@" "${rounds[@]}" "${text[@]}" "${models[@]}"
for group in "${rows[@]}"; do
    for name in $group; do
        run "row-$name" bash -c 'row "$@"' row "$name" "${steps[@]}" &
    done
    wait
done
