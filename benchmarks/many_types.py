"""What many entity types cost: 1, 18 and 66 of them (5, 73 and 265 labels).

    python benchmarks/many_types.py --data ../shared/data

The genes of BC2GM are spread over the types, by their first word. The student is a BiLSTM with one layer of 96 and
random weights, which the teacher has, too, a tiny BERT: what they find takes as long to evaluate as anything else. For
each number of types:

- decoding: the best valid sequences of devel (2,519 sentences), from logits;
- evaluation: all that a run does with devel at its end: the student's pass, decoding, scores, the bootstrap;
- bootstrap: the 95 % intervals of all F1 values, of all types, part of the evaluation;
- bytes: of the stored signals, per word of the first 2,000 sentences of train;
- step: of training on them with batches of 32, the median of the rounds; the numbers of types alternate.

Prints a table and, last, one line of JSON: `step_18`, `step_66`: a step's time over that with one type.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import torch
from common import WARM_UP, Clock, load, print_json, train_tokenizer
from datasets import Dataset, disable_progress_bars
from tqdm.auto import tqdm
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast
from transformers.utils import logging

from hf_distill import (
    DistillationArguments,
    DistillationTrainer,
    ModelArguments,
    SignalStore,
    Teacher,
    attach_signals,
    build_student,
    encode_dataset,
)
from hf_distill.data.encoding import join_windows
from hf_distill.files import format_table
from hf_distill.runtime.decoding import constrained_decode
from hf_distill.runtime.tags import make_tags, spans
from hf_distill.students.build import label_config
from hf_distill.teachers.labels import match_labels

TYPES, BATCH, STEPS = (1, 18, 66), 32, 30
STUDENT = ModelArguments(embedding_size=128, hidden_size=96, n_layers=1, dropout=0.2, embedding_dropout=0.1)


class Bench:
    """A student and a teacher of some types, with their data."""

    def __init__(self, n_types: int, train: Dataset, devel: Dataset, tokenizer: PreTrainedTokenizerFast, folder: Path):
        types = [f"TYPE{number:02d}" for number in range(n_types)]
        self.tags, self.tokenizer, self.folder = make_tags(types, "IOBES"), tokenizer, folder

        def spread(row: dict) -> dict:
            tags = list(row["tags"])
            for _, start, end in spans(tags):
                entity = types[sum(map(ord, row["tokens"][start])) % n_types]
                tags[start:end] = [f"{tag[0]}-{entity}" for tag in tags[start:end]]
            return {"tags": tags}

        train, self.devel = train.map(spread), devel.map(spread)
        torch.manual_seed(0)
        sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        model = BertForTokenClassification(BertConfig(vocab_size=len(tokenizer), **sizes, **label_config(self.tags)))
        teacher = Teacher(model, tokenizer, match_labels(self.tags, self.tags), 512)
        store = SignalStore(teacher, train, folder / "signals")
        self.signals = attach_signals([store], encode_dataset(train, tokenizer, 512, self.tags))
        self.bytes = sum(shard.stat().st_size for shard in store.folder.iterdir()) / sum(map(len, train["tokens"]))

    def trainer(self, clock: Clock) -> DistillationTrainer:
        args = DistillationArguments(
            output_dir=str(self.folder / "run"),
            per_device_train_batch_size=BATCH,
            learning_rate=4e-3,
            max_steps=WARM_UP + STEPS,
            logit_loss="ce",
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
        )
        torch.manual_seed(0)
        student = build_student(STUDENT, self.tags, self.tokenizer)
        return DistillationTrainer(student, args, None, self.tokenizer, train_dataset=self.signals, callbacks=[clock])

    def step(self) -> float:
        """The milliseconds of a training step."""
        clock = Clock()
        trainer = self.trainer(clock)
        with contextlib.redirect_stdout(io.StringIO()):  # the Trainer's summary
            trainer.train()
        return 1000 * clock.seconds / STEPS

    def evaluation(self) -> list[float]:
        """The seconds of decoding, of an evaluation, and of the bootstrap in it."""
        trainer = self.trainer(Clock())
        encoded = encode_dataset(
            self.devel, self.tokenizer, 512, self.tags, piece_tokenizer=self.tokenizer, by_length=True
        )
        start = time.perf_counter()
        output = trainer.predict(encoded)
        bootstrap = seconds(trainer.counts.intervals)
        total = time.perf_counter() - start
        predictions, labels = (list(chain.from_iterable(each)) for each in (output.predictions, output.label_ids))
        logits = join_windows(predictions, labels, encoded)
        return [seconds(lambda: constrained_decode(logits, self.tags)), total, bootstrap]


def seconds(call: Callable[[], object]) -> float:
    """The seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(data: Path, rounds: int) -> tuple[list[Sequence[str]], dict[str, float]]:
    """The rows of the table, and the figures."""
    train, devel = load(data, "train").select(range(2000)), load(data, "devel")
    tokenizer = train_tokenizer(train)
    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(number, train, devel, tokenizer, Path(folder)) for number in TYPES]
        rows, times = [], [[] for _ in TYPES]
        with tqdm(total=(1 + rounds) * len(benches), desc="Measuring") as progress:
            for number, bench in zip(TYPES, benches, strict=True):
                decoding, evaluation, bootstrap = bench.evaluation()
                sizes = [f"{number}", f"{len(bench.tags)}", f"{decoding:.2f}", f"{evaluation:.1f}", f"{bootstrap:.2f}"]
                rows.append([*sizes, f"{bench.bytes:.0f}"])
                progress.update()
            for _ in range(rounds):
                for bench, own in zip(benches, times, strict=True):
                    own.append(bench.step())
                    progress.update()
    medians = list(map(statistics.median, times))
    rows = [[*row, f"{step:.0f}"] for row, step in zip(rows, medians, strict=True)]
    return rows, {f"step_{number}": step / medians[0] for number, step in zip(TYPES[1:], medians[1:], strict=True)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    disable_progress_bars()
    logging.set_verbosity_error()
    table, figures = main(arguments.data, arguments.rounds)
    print(format_table(["types", "labels", "decoding, s", "evaluation, s", "bootstrap, s", "bytes", "step, ms"], table))
    print_json(figures)
