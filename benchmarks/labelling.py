"""Speed and memory of labelling text with a teacher.

    python benchmarks/labelling.py --data ../shared/data --teacher ../shared/teacher

Prints a table and, last, one line of JSON:

- `ours_vs_bare`: words per second of labelling, including tokenising and writing to disk, over those of forward passes
  on prepared batches of as many tokens; the two alternate, in bf16 if its argmax agrees with fp32 for 99.9 % of the
  words (`bf16_agreement`), else in fp32;
- `peak_mb`, `memory_growth`: peak memory, including libraries, of labelling 1,000,000 augmented sentences (`--many`;
  tiny teacher, separate process), and its ratio to the peak for a tenth of them. Memory-mapped files (the text and
  the stored logits) do not count, since the system can reclaim their pages. Not measured with `--device cuda`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import TAGS, bert, finish, in_turns, load, print_json, train_tokenizer
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from transformers.utils import logging

from hf_distill import SignalStore, Teacher, augment, load_teacher
from hf_distill.data.encoding import pad
from hf_distill.files import format_table
from hf_distill.runtime.windows import BATCH_SUBWORDS, make_windows
from hf_distill.teachers.labels import match_labels

ROUNDS_PER_MILLION = 45  # of augmentation


def speed(corpus: Dataset, args: argparse.Namespace, folder: Path) -> tuple[float, float, str, float]:
    """Words per second of labelling and of bare forward passes, the dtype, and the agreement of bf16 with fp32."""
    teacher = load_teacher(args.teacher, TAGS)
    teacher.model.to(args.device)
    sample = corpus.shuffle(seed=0)
    sample = sample.select(range(min(args.sentences, len(sample))))
    predictions = [np.concatenate(teacher.predict(sample["tokens"], bf16)).argmax(-1) for bf16 in (False, True)]
    agreement = float((predictions[0] == predictions[1]).mean())
    bf16 = agreement >= 0.999

    windows = [window.input_ids for cut in make_windows(teacher.tokenizer, sample["tokens"], 512) for window in cut]
    windows.sort(key=len, reverse=True)
    batches = []
    while windows:
        size = max(1, BATCH_SUBWORDS // len(windows[0]))
        ids = pad(windows[:size], teacher.tokenizer.pad_token_id)
        mask = pad([[1] * len(row) for row in windows[:size]])
        batches.append((ids.to(args.device), mask.to(args.device)))
        del windows[:size]

    def bare() -> None:
        with torch.no_grad(), torch.autocast(args.device, torch.bfloat16, enabled=bf16):
            for input_ids, attention_mask in batches:
                teacher.model(input_ids=input_ids, attention_mask=attention_mask)

    def ours() -> None:
        SignalStore(teacher, sample, folder / f"signals-{time.time()}", bf16).compute()

    seconds = in_turns({"ours": ours, "bare": finish(bare, teacher.model)}, args.rounds, 0)
    words = sum(map(len, sample["tokens"]))
    return words / seconds["ours"], words / seconds["bare"], "bf16" if bf16 else "fp32", agreement


def label_many(data: Path, number: int) -> None:
    """Augment to `number` sentences, print a line, and label them with a tiny teacher."""
    corpus = load(data, "train")
    tokenizer = train_tokenizer(corpus)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    tiny = Teacher(bert(**sizes), tokenizer, match_labels(TAGS, TAGS), 512)
    rounds = -(-ROUNDS_PER_MILLION * number // 1_000_000)
    text = concatenate_datasets([corpus, augment(corpus, rounds)]).select(range(number))
    with tempfile.TemporaryDirectory() as folder:
        print("ready", flush=True)
        SignalStore(tiny, text, folder).compute()


def peak_memory(command: list[str]) -> float:
    """Peak anonymous memory of a command after its first line of output, in MB, sampled 50 times per second."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found.group(1)) if found else 0)
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"labelling ended with status {process.returncode}")
    return 1024 * peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--teacher", default="../shared/teacher", help="a token classifier with tags of BC2GM")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=4096, help="sentences to label")
    parser.add_argument("--many", type=int, default=1_000_000, help="sentences of which the memory is measured")
    parser.add_argument("--label", type=int, help=argparse.SUPPRESS)  # for the subprocesses
    args = parser.parse_args()
    disable_progress_bars()
    logging.set_verbosity_error()
    if args.label:
        label_many(args.data, args.label)
        return
    with tempfile.TemporaryDirectory() as folder:
        ours, bare, form, agreement = speed(load(args.data, "train"), args, Path(folder))
    figures = {"ours_vs_bare": ours / bare, "bf16_agreement": agreement}
    table = [[f"labelling, {form}", f"{ours:,.0f} words/s"], [f"bare passes, {form}", f"{bare:,.0f} words/s"]]
    if args.device == "cpu":
        command = [sys.executable, __file__, "--data", str(args.data), "--label"]
        numbers = (args.many // 10, args.many)
        peaks = [peak_memory([*command, str(number)]) for number in numbers]
        for number, peak in zip(numbers, peaks, strict=True):
            table.append([f"peak memory, {number:,} sentences", f"{peak:,.0f} MB"])
        figures |= {"memory_growth": peaks[1] / peaks[0], "peak_mb": peaks[1]}
    print(format_table(["", ""], table))
    print_json(figures)


if __name__ == "__main__":
    main()
