"""Time of a training run, compared with other implementations.

    python benchmarks/training.py --data ../shared/data

A BiLSTM (300, head of 256) is trained on BC2GM in batches of 32, with a teacher of BERT base's size (random weights).
The contenders alternate:

- ours: `DistillationTrainer` with stored teacher logits, in bf16; plain: the same on labels only; recipe: with the
  recipe's losses;
- bare: a PyTorch loop over the same batches, prepared, with the same optimiser and precision;
- reference: a loop as in the *BioBERT Distillation* script. The teacher runs at each step with hidden states and
  attentions, every sentence is padded to 202 subwords for the student, too, AdamW is unfused, all in fp32;
- TextBrewer: `GeneralDistiller` with its defaults, in fp32. The teacher runs at each step, batches are padded to their
  longest sentence. (Its `BasicDistiller` can cache logits in memory if the batches are the same in each epoch.)
- The last two also under bf16 autocast, which neither offers itself.

Prints a table and, last, one line of JSON: `stored_vs_plain` and `recipe_vs_plain` (an epoch), `reference_vs_ours`
and `textbrewer_vs_ours` (a run of 50 epochs, extrapolated from measured steps; ours includes the teacher's single pass
over the corpus), the same with `_bf16`, `ours_vs_bare` (words per second), and `padding_share` (of the positions of our
batches).
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import TAGS, WARM_UP, Clock, bert, bilstm, load, print_json, train_tokenizer
from datasets import disable_progress_bars
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers.utils import logging

from hf_distill import (
    DistillationArguments,
    DistillationTrainer,
    SignalStore,
    Teacher,
    attach_signals,
    encode_dataset,
)
from hf_distill.data.encoding import pad
from hf_distill.files import format_table
from hf_distill.presets import BILSTM_LOSS
from hf_distill.teachers.labels import match_labels
from hf_distill.training.batching import DistillationCollator, gather_words
from hf_distill.training.losses import logit_mse

BATCH, EPOCHS, PADDED_LENGTH, LEARNING_RATE = 32, 50, 202, 1e-3
# Measured steps per round, on a CPU and on a GPU.
OURS = {"ours": (40, 300), "plain": (40, 300), "recipe": (40, 300)}
STEPS = OURS | {"bare": (40, 300), "reference": (2, 40), "TextBrewer": (4, 40)}
BF16 = ("reference", "TextBrewer")  # also measured in bf16


class Bench:
    """The contenders, with shared models and data. Each contender returns the seconds per sentence."""

    def __init__(self, args: argparse.Namespace, folder: str):
        self.folder, self.device = folder, torch.device(args.device)
        self.corpus = load(args.data, "train")
        self.tokenizer = train_tokenizer(self.corpus)
        self.teacher = Teacher(bert().to(self.device), self.tokenizer, match_labels(TAGS, TAGS), 512)
        self.rows = encode_dataset(self.corpus, self.tokenizer, 512, TAGS)
        # The values of the logits do not matter here, so that a tiny teacher computes them.
        small = bert(hidden_size=24, num_hidden_layers=1, intermediate_size=24).to(self.device)
        tiny = Teacher(small, self.tokenizer, self.teacher.labels, 512)
        self.signals = attach_signals([SignalStore(tiny, self.corpus, Path(folder) / "signals")], self.rows)
        # The batches of the first epoch.
        sampler = self.trainer(True, 1, Clock())._get_train_sampler()
        order = list(sampler)
        self.batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def trainer(self, distillation: bool, steps: int, clock: Clock, **losses: Any) -> DistillationTrainer:
        args = DistillationArguments(
            output_dir=f"{self.folder}/run",
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            max_steps=steps,
            distillation=distillation,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
            report_to="none",
            use_cpu=self.device.type == "cpu",
            bf16=True,
            **losses,
        )
        rows = self.signals if distillation else self.rows
        student = bilstm().train()
        return DistillationTrainer(student, args, None, self.tokenizer, train_dataset=rows, callbacks=[clock])

    def ours(self, steps: int, distillation: bool = True, **losses: Any) -> float:
        clock = Clock()
        trainer = self.trainer(distillation, WARM_UP + steps, clock, **losses)
        with contextlib.redirect_stdout(io.StringIO()):  # the Trainer's summary
            trainer.train()
        return self.per_word(clock.seconds, self.batches[WARM_UP : WARM_UP + steps])

    def plain(self, steps: int) -> float:
        return self.ours(steps, distillation=False)

    def recipe(self, steps: int) -> float:
        return self.ours(steps, **BILSTM_LOSS)

    def bare(self, steps: int) -> float:
        collator = DistillationCollator(self.tokenizer)
        rows = self.batches[: WARM_UP + steps]
        batches = [self.to_device(collator([self.signals[row] for row in batch])) for batch in rows]
        student = bilstm().train().to(self.device)
        optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE, fused=True)
        for number, batch in enumerate(batches):
            if number == WARM_UP:
                start = self.now()
            with torch.autocast(self.device.type, torch.bfloat16):
                logits = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            words = gather_words(logits.float(), batch["word_positions"])
            loss = logit_mse(words, batch["teacher_logits"], batch["signal_mask"]) / batch["signal_mask"].sum()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return self.per_word(self.now() - start, rows[WARM_UP:])

    def reference(self, steps: int, bf16: bool = False) -> float:
        student = bilstm().train().to(self.device)
        teacher = self.teacher.model
        teacher.set_attn_implementation("eager")  # needed for attentions
        optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE)
        loader = iter(self.random_batches(PADDED_LENGTH))
        for step in range(1 + steps):
            if step == 1:
                start = self.now()
            batch = self.to_device(next(loader))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                with torch.no_grad():
                    teacher_outputs = teacher(**batch, output_hidden_states=True, output_attentions=True)
                logits = student(input_ids=batch["input_ids"]).logits
            loss = nn.functional.mse_loss(logits.float(), teacher_outputs.logits.float())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        seconds = self.now() - start
        teacher.set_attn_implementation("sdpa")
        return seconds / (steps * BATCH)

    def textbrewer(self, steps: int, bf16: bool = False) -> float:
        student = bilstm().train().to(self.device)

        def adapt(batch: dict[str, Tensor], outputs) -> dict[str, Tensor]:
            return {"logits": outputs.logits.float(), "logits_mask": batch["attention_mask"]}

        distiller = GeneralDistiller(
            TrainingConfig(device=self.device, output_dir=self.folder, ckpt_steps=10**9),
            DistillationConfig(temperature=1, kd_loss_type="mse"),
            self.teacher.model,
            student,
            adapt,
            adapt,
        )
        times = []

        def clocked() -> Iterable[dict[str, Tensor]]:
            for batch in self.random_batches(None):
                times.append(self.now())
                yield batch

        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        with autocast, distiller, contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE, fused=True)
            distiller.train(optimizer, clocked(), num_steps=2 + steps, callback=None)
        # From the start of the second step to that of the last one, which ends with writing a checkpoint.
        return (times[1 + steps] - times[1]) / (steps * BATCH)

    def random_batches(self, length: int | None) -> DataLoader:
        """Batches in random order, padded to `length` or to their longest sentence."""

        def collate(rows: list[dict]) -> dict[str, Tensor]:
            ids = [row["input_ids"][:length] for row in rows]
            width = length or max(map(len, ids))
            return {
                "input_ids": pad([row + [self.tokenizer.pad_token_id] * (width - len(row)) for row in ids]),
                "attention_mask": pad([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
            }

        return DataLoader(self.rows, BATCH, shuffle=True, collate_fn=collate, drop_last=True)

    def labelling(self) -> float:
        """Seconds per sentence of labelling a sample of the corpus with the teacher."""
        sample = self.corpus.shuffle(seed=0).select(range(512))
        start = self.now()
        SignalStore(self.teacher, sample, Path(self.folder) / f"labelled-{start}", bf16=True).compute()
        return (self.now() - start) / len(sample)

    def per_word(self, seconds: float, batches: Iterable[list[int]]) -> float:
        """Seconds per sentence of average length, from the seconds of these batches."""
        words = sum(map(len, self.rows["word_positions"]))
        measured = sum(len(self.rows[row]["word_positions"]) for batch in batches for row in batch)
        return seconds / measured * words / len(self.rows)

    def to_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in batch.items()}

    def now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def padding_share(self) -> float:
        lengths = self.rows["length"][:]
        real = sum(lengths)
        positions = sum(len(batch) * max(lengths[row] for row in batch) for batch in self.batches)
        return 1 - real / positions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    disable_progress_bars()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        contenders = {
            name: partial(getattr(bench, name.lower()), steps[args.device != "cpu"]) for name, steps in STEPS.items()
        }
        contenders |= {f"{name} in bf16": partial(contenders[name], bf16=True) for name in BF16}
        contenders["labelling"] = bench.labelling
        times: dict[str, list[float]] = {name: [] for name in contenders}
        with tqdm(total=args.rounds * len(times), desc="Measuring") as progress:
            for _ in range(args.rounds):
                for name, contender in contenders.items():
                    times[name].append(contender())
                    progress.update()
        sentences, words = len(bench.corpus), sum(map(len, bench.corpus["tokens"]))
        runs = {
            name: [EPOCHS * sentences * value for value in values]
            for name, values in times.items()
            if name != "labelling"
        }
        once = [sentences * value for value in times["labelling"]]
        runs["ours"] = [run + labelling for run, labelling in zip(runs["ours"], once, strict=True)]

        def ratio(above: list[float], below: list[float]) -> float:
            """Median of the rounds' ratios, since the speed of a shared machine varies."""
            return statistics.median(one / other for one, other in zip(above, below, strict=True))

        table = [
            [
                name,
                f"{words / sentences / statistics.median(values):,.0f}",
                f"{statistics.median(runs[name]) / 3600:.2f}" if name in runs else "",
            ]
            for name, values in times.items()
        ]
        print(format_table(["", "words per second", f"{EPOCHS} epochs (hours)"], table))
        print_json(
            {
                "stored_vs_plain": ratio(times["ours"], times["plain"]),
                "recipe_vs_plain": ratio(times["recipe"], times["plain"]),
                "reference_vs_ours": ratio(runs["reference"], runs["ours"]),
                "textbrewer_vs_ours": ratio(runs["TextBrewer"], runs["ours"]),
                "reference_bf16_vs_ours": ratio(runs["reference in bf16"], runs["ours"]),
                "textbrewer_bf16_vs_ours": ratio(runs["TextBrewer in bf16"], runs["ours"]),
                "ours_vs_bare": ratio(times["bare"], times["ours"]),
                "padding_share": bench.padding_share(),
            }
        )


if __name__ == "__main__":
    main()
