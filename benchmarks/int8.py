"""What int8 costs: weights of 8 and of 7 bits, with a scale for each matrix and for each of its rows.

    python benchmarks/int8.py --data ../shared/data --models small=small teacher=../shared/teacher

By model and kind of file: F1 (strict, constrained) on BC2GM devel, the share of sentences that get the tags of fp32,
the file's size, and the milliseconds of a forward pass of one sentence on one thread, the mean over an even sample of
100, in turns. `7 bits, rows` is what `--export onnx` writes. Prints which instructions this CPU multiplies int8
with: below VNNI, 8 bits overflow.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import in_turns, load
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import AutoModelForTokenClassification

from hf_distill import models  # noqa: F401 (registers the BiLSTM with the Auto classes)
from hf_distill.alignment import load_tokenizer, predict_words, window_length
from hf_distill.files import format_table
from hf_distill.labels import convert_tags, detect_scheme, model_tags
from hf_distill.metrics import decode, score
from hf_distill.onnx_export import instruction_set, write_onnx
from hf_distill.onnx_model import OnnxModel

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
            answers = {}
            for kind, file in files.items():
                logits = predict_words(OnnxModel(file, model.config), tokenizer, devel["tokens"], length)
                answers[kind] = decode(logits, tags)
                same = sum(map(list.__eq__, answers[kind], answers["fp32"])) / len(devel)
                f1, size = score(logits, gold, tags)["f1"], file.stat().st_size / 1e6
                rows[name, kind] = [f"{name}, {kind}", f"{f1:.4f}", f"{same:.4f}", f"{size:.2f}"]
                calls[name, kind] = forward(OnnxModel(file, model.config, threads=1), inputs)
        seconds = in_turns(calls, args.rounds, 0)
    table = [[*row, f"{1000 * seconds[key] / len(sample):.2f}"] for key, row in rows.items()]
    print(format_table([instruction_set(), "F1", "same tags", "MB", "ms"], table))


def forward(model: OnnxModel, inputs: list):
    """A forward pass of each sentence, to be called."""

    def run() -> None:
        for each in inputs:
            model(each["input_ids"], each["attention_mask"])

    return run


if __name__ == "__main__":
    main()
