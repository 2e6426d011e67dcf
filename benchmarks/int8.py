"""What int8 costs and gains: 8-bit weights with fp32 arithmetic, and 8-bit arithmetic (`--int8 weights` and `dynamic`).

    python benchmarks/int8.py --data ../shared/data --models small=small teacher=../shared/teacher

By model and kind of file: F1 (strict, constrained decoding) on BC2GM devel, the share of sentences with the same tags
as in fp32, how many of 400 sentences change their tags where they share batches, the size of the file, and milliseconds
a sentence on one thread: each alone, and 32 together, the mean over 100 evenly spaced sentences, with alternating
models. The table names the CPU's instruction set for int8.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import forward_passes, in_turns, load
from transformers import AutoModelForTokenClassification

from hf_distill.evaluation.metrics import count
from hf_distill.files import format_table
from hf_distill.publishing.onnx_export import instruction_set, write_onnx
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.schemes import model_tags
from hf_distill.runtime.tags import convert_tags, detect_scheme
from hf_distill.runtime.windows import window_length
from hf_distill.teachers.loading import load_tokenizer

SAMPLE, COMPARED, BATCH = 100, 400, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    devel = load(args.data, "devel")
    rows, calls = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, folder in (each.split("=", 1) for each in args.models):
            tokenizer = load_tokenizer(folder)
            model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
            tags, length = model_tags(model.config), window_length(tokenizer, model.config)
            gold = [convert_tags(each, detect_scheme(tags)) for each in devel["tags"]]
            sample = devel["tokens"][:: max(1, len(devel) // SAMPLE)][:SAMPLE]
            files = {}
            for kind in ("weights", "dynamic"):
                files["fp32"], files[kind] = write_onnx(model, Path(temporary) / f"{name}-{kind}", kind)
            predictions = {}
            for kind in ("fp32", "weights", "dynamic"):
                onnx = OnnxModel(files[kind], model.config, threads=1)
                logits = predict_words(onnx, tokenizer, devel["tokens"], length)
                counts = count(logits, gold, tags)
                predictions[kind] = counts.predictions
                same = sum(map(list.__eq__, predictions[kind], predictions["fp32"])) / len(devel)
                sentences = devel["tokens"][:COMPARED]
                alone = [predict_words(onnx, tokenizer, [words], length)[0] for words in sentences]
                changed = sum(map(list.__ne__, count(alone, gold[:COMPARED], tags).predictions, predictions[kind]))
                size = files[kind].stat().st_size / 1e6
                scores = f"{counts.scores()['f1']:.4f}", f"{same:.4f}", str(changed), f"{size:.2f}"
                rows[name, kind] = [f"{name}, {kind}", *scores]
                calls[name, kind, "alone"] = forward_passes(onnx, tokenizer, sample, 1)
                calls[name, kind, "together"] = forward_passes(onnx, tokenizer, sample, BATCH)
        seconds = in_turns(calls, args.rounds, 0)
    table = [
        [*row, *(f"{1000 * seconds[*key, way] / len(sample):.2f}" for way in ("alone", "together"))]
        for key, row in rows.items()
    ]
    print(format_table([instruction_set(), "F1", "same tags", "changed", "MB", "ms alone", "ms together"], table))


if __name__ == "__main__":
    main()
