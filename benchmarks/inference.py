"""Latency and throughput of BERT base and of students, in PyTorch and in ONNX Runtime.

    python benchmarks/inference.py --data ../shared/data

Random weights, BC2GM sentences of exactly 38 subwords. Prints a table and, last, one line of JSON: the time of BERT
base over that of a student in ONNX Runtime, int8 (`--int8 dynamic`; by default it takes the time of fp32).

- Batch 1, one thread: `latency_vs_fp32` (BERT in PyTorch, fp32, over a BiLSTM of 300 with a head of 256),
  `latency_vs_int8` (BERT in ONNX Runtime, int8), `latency_small_vs_int8` (the same over a BiLSTM of 128),
  `latency_tiny_vs_fp32` (BERT in PyTorch over a BiLSTM with one layer of 96);
- batch 32, all threads: `throughput_bilstm` and `throughput_tinybert` (BERT in PyTorch, fp32),
  `throughput_bilstm_vs_int8` and `throughput_tinybert_vs_int8` (BERT in ONNX Runtime, int8).

With `--device cuda`, all models run in PyTorch in bf16 on the same GPU.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import TAGS, TINYBERT, bert, bilstm, finish, in_turns, load, print_json, train_tokenizer

from hf_distill import encode_dataset
from hf_distill.data.encoding import pad
from hf_distill.files import format_table
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME, OnnxModel

SUBWORDS, BATCH = 38, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()

    corpus = load(args.data, "train")
    tokenizer = train_tokenizer(corpus)
    rows = encode_dataset(corpus, tokenizer, 512, TAGS)
    rows = rows.filter(lambda length: length == SUBWORDS, input_columns="length").select(range(BATCH))
    inputs = {}
    for size in (1, BATCH):
        input_ids = pad(rows["input_ids"][:size]).to(args.device)
        inputs[size] = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}

    models = {
        "BERT base": bert(),
        "TinyBERT": bert(**TINYBERT),
        "BiLSTM": bilstm(),
        "small": bilstm(128, 0),
        "tiny": bilstm(128, 0, hidden_size=96, num_hidden_layers=1),
    }
    seconds = {}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for size, count in ((1, 1), (BATCH, threads)):
            torch.set_num_threads(count)
            contenders = {}
            arrays = {name: values.cpu().numpy() for name, values in inputs[size].items()}
            for name, model in models.items():
                model.to(args.device)
                contenders[name, "PyTorch"] = finish(call(model, inputs[size], args.device), model)
                if args.device == "cpu":
                    files = Path(folder) / name
                    if not files.exists():
                        write_onnx(model, files, "dynamic")
                    for kind, file in (("ONNX fp32", MODEL_NAME), ("ONNX int8", QUANTIZED_NAME)):
                        contenders[name, kind] = call(OnnxModel(files / file, model.config, count), arrays)
            for key, value in in_turns(contenders, args.rounds, 0.3).items():
                seconds[*key, size] = value
    kinds = ["PyTorch", "ONNX fp32", "ONNX int8"] if args.device == "cpu" else ["PyTorch"]
    table = [
        [f"{name}, {kind}", *(f"{1000 * seconds[name, kind, size]:.2f}" for size in (1, BATCH))]
        for name in models
        for kind in kinds
    ]
    print(format_table(["ms", "batch 1, 1 thread", f"batch {BATCH}, {threads} threads"], table))
    fast = kinds[-1]

    def ratio(student: str, size: int, kind: str) -> float:
        return seconds["BERT base", kind, size] / seconds[student, fast, size]

    figures = {
        "latency_vs_fp32": ratio("BiLSTM", 1, "PyTorch"),
        "latency_vs_int8": ratio("BiLSTM", 1, fast),
        "latency_small_vs_int8": ratio("small", 1, fast),
        "latency_tiny_vs_fp32": ratio("tiny", 1, "PyTorch"),
        "throughput_bilstm": ratio("BiLSTM", BATCH, "PyTorch"),
        "throughput_tinybert": ratio("TinyBERT", BATCH, "PyTorch"),
        "throughput_bilstm_vs_int8": ratio("BiLSTM", BATCH, fast),
        "throughput_tinybert_vs_int8": ratio("TinyBERT", BATCH, fast),
    }
    if args.device != "cpu":
        figures = {name: value for name, value in figures.items() if "int8" not in name}
    print_json(figures)


def call(model, inputs: dict, device: str = "cpu"):
    """A function that runs a forward pass."""

    def run():
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            model(**inputs)

    return run


if __name__ == "__main__":
    main()
