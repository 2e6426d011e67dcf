"""Accuracy, size and latency of int8: 8-bit and 7-bit weights, with one scale per matrix or per row.

    python benchmarks/int8.py --data ../shared/data --models small=small teacher=../shared/teacher

By model and kind of file: F1 (strict, constrained decoding) on BC2GM devel, the share of sentences with the same tags
as in fp32, the size of the file, and the milliseconds of a forward pass of one sentence on one thread, the mean over
100 evenly spaced sentences, with alternating models. `7 bits, rows` is the format of `--export onnx`. The table names
the CPU's instruction set for int8: without VNNI, products of 8-bit weights overflow.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import in_turns, load
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
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

KINDS = {
    "8 bits": {},
    "8 bits, rows": {"per_channel": True},
    "7 bits": {"reduce_range": True},
    "7 bits, rows": {"per_channel": True, "reduce_range": True},
}
SAMPLE = 100


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
            inputs = [tokenizer(words, is_split_into_words=True, return_tensors="pt") for words in sample]
            files = {"fp32": write_onnx(model, Path(temporary) / name)[0]}
            prepared = files["fp32"].with_name("prepared.onnx")
            quant_pre_process(files["fp32"], prepared, skip_symbolic_shape=True)
            for kind, options in KINDS.items():
                files[kind] = files["fp32"].with_name(f"{kind}.onnx")
                quantize_dynamic(prepared, files[kind], **options)
            predictions = {}
            for kind, file in files.items():
                logits = predict_words(OnnxModel(file, model.config), tokenizer, devel["tokens"], length)
                counts = count(logits, gold, tags)
                predictions[kind] = counts.predictions
                same = sum(map(list.__eq__, predictions[kind], predictions["fp32"])) / len(devel)
                f1, size = counts.scores()["f1"], file.stat().st_size / 1e6
                rows[name, kind] = [f"{name}, {kind}", f"{f1:.4f}", f"{same:.4f}", f"{size:.2f}"]
                calls[name, kind] = forward(OnnxModel(file, model.config, threads=1), inputs)
        seconds = in_turns(calls, args.rounds, 0)
    table = [[*row, f"{1000 * seconds[key] / len(sample):.2f}"] for key, row in rows.items()]
    print(format_table([instruction_set(), "F1", "same tags", "MB", "ms"], table))


def forward(model: OnnxModel, inputs: list):
    """A function that runs a forward pass of each sentence."""

    def run() -> None:
        for each in inputs:
            model(each["input_ids"], each["attention_mask"])

    return run


if __name__ == "__main__":
    main()
