#!/usr/bin/env bash
# Collect in one folder what gpu.sh needs on a machine without network: at most 60 MB.
#
#     bash benchmarks/gpu_bundle.sh [--data ../shared/data] [--teacher ../shared/teacher] [--output outputs/gpu_bundle]
#
# PyTorch, transformers, accelerate and what they need must be there already, on Python 3.12.
set -euo pipefail
cd "$(dirname "$0")/.."
data=../shared/data teacher=../shared/teacher output=outputs/gpu_bundle
while (($#)); do
    case $1 in
        --data) data=$2 ;;
        --teacher) teacher=$2 ;;
        --output) output=$2 ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done
rm -rf "$output"
mkdir -p "$output/wheels" "$output/data/bc2gm"
python3 -m pip wheel -q --no-deps -w "$output/wheels" -c constraints.txt . seqeval textbrewer
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 -d "$output/wheels" -c constraints.txt \
    datasets evaluate multiprocess dill
for file in bc2gm/train.tsv bc2gm/devel.tsv biomedical_unlabeled.txt; do
    gzip -9nc "$data/$file" > "$output/data/$file.gz"
done
python3 - "$teacher" "$output/teacher" <<'PYTHON'
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

source, target = map(Path, sys.argv[1:])
target.mkdir()
for file in [*source.glob("*.json"), *source.glob("*.txt")]:
    shutil.copy(file, target)
half = {name: value.half() for name, value in load_file(source / "model.safetensors").items()}
save_file(half, target / "model.safetensors", metadata={"format": "pt"})
PYTHON
size=$(du -sm --apparent-size "$output" | cut -f1)
echo "$output: $size MB"
((size <= 60)) || { echo "more than 60 MB: give a smaller --teacher." >&2; exit 1; }
