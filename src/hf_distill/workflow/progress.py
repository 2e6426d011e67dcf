"""What a training says of itself while it runs."""

import math
import sys
import time

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK

from ..data.statistics import word_count
from ..training.trainer import DistillationTrainer
from .preparation import print_main

WARM_UP_STEPS, TIMED_STEPS = 5, 20  # of a training, before it is said how long it takes
SPARSE_SECONDS, SPARSE_LINES = 60, 10  # in a file: between two lines of a training; such lines in all, at most


def show_progress(trainer: DistillationTrainer, sentences: Dataset) -> None:
    """Have a trainer show its progress by `Progress` alone; `sentences` are its training data, with their `tokens`."""
    # Trainer's own print a dictionary at every log, hundreds of them; trainer_state.json and --report_to have them all.
    trainer.remove_callback(PrinterCallback if trainer.args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
    size = trainer.student.num_parameters() / 1e6
    trainer.add_callback(Progress(f"a {trainer.student.config.model_type} of {size:.1f} M parameters", sentences))


class Progress(ProgressCallback):
    """Lines of a training: how large it is and, after the first steps, how long it will take; one for each evaluation.

    In a terminal there is a bar as well, of words; in a file, a line for each tenth of the steps, where they take long.
    """

    def __init__(self, student: str, sentences: Dataset):
        super().__init__()
        self.student, self.sentences = student, sentences

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        """As in `TrainerCallback`."""
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)  # of an epoch
        self.words_per_step = word_count(self.sentences) / steps
        self.first = self.last_said = state.global_step
        self.begin = self.time_said = time.perf_counter()
        learns = f"{self.student} learns from {len(self.sentences):,} sentences, for {state.max_steps:,} steps"
        self._say(f"training {args.output_dir}: {learns}")
        self.training_bar = tqdm(
            total=round(state.max_steps * self.words_per_step),
            initial=round(state.global_step * self.words_per_step),
            desc="Training",
            unit=" words",
            unit_scale=True,
            dynamic_ncols=True,
            leave=False,
            disable=args.disable_tqdm or not state.is_world_process_zero or not sys.stderr.isatty(),
        )

    def on_step_end(self, args, state, control, **kwargs):
        """As in `TrainerCallback`."""
        self.training_bar.update(round(state.global_step * self.words_per_step) - self.training_bar.n)
        now, done = time.perf_counter(), state.global_step - self.first
        if done == WARM_UP_STEPS:
            self.warm = now
        elif done == WARM_UP_STEPS + TIMED_STEPS:
            seconds = (now - self.warm) / TIMED_STEPS
            minutes = seconds * (state.max_steps - state.global_step) / 60
            self._say(
                f"training {args.output_dir}: {state.max_steps:,} steps, about {minutes:.1f} minutes left "
                f"({self.words_per_step / seconds:,.0f} words a second)"
            )
        tenth = state.global_step - self.last_said >= state.max_steps / SPARSE_LINES
        if tenth and now - self.time_said >= SPARSE_SECONDS and not sys.stderr.isatty():
            self._say_step(state, "")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """As in `TrainerCallback`."""
        super().on_evaluate(args, state, control, **kwargs)
        if self.training_bar is not None:
            name = (args.metric_for_best_model or "f1").removeprefix("eval_")
            shown = dict.fromkeys(["f1", name])  # F1, and what chooses the best checkpoint, if that is another
            scores = [f"{each.upper() if each == 'f1' else each} {metrics[f'eval_{each}']:.4f}" for each in shown]
            self._say_step(state, f", on the development data {' and '.join(scores)}")

    def on_prediction_step(self, args, state, control, **kwargs):
        """As in `TrainerCallback`."""
        if not args.disable_tqdm:
            super().on_prediction_step(args, state, control, **kwargs)

    def on_log(self, args, state, control, **kwargs):
        """As in `TrainerCallback`: nothing is printed."""

    def on_train_end(self, args, state, control, **kwargs):
        """As in `TrainerCallback`."""
        super().on_train_end(args, state, control, **kwargs)
        if args.load_best_model_at_end and state.best_metric is not None:
            self._say(f"the best checkpoint is that of step {state.best_global_step:,}, which is taken")

    def _say_step(self, state, scores: str) -> None:
        """Say in a line where a training is."""
        loss = next((f": loss {log['loss']:.4f}" for log in reversed(state.log_history) if "loss" in log), "")
        self.last_said, self.time_said = state.global_step, time.perf_counter()
        left = state.max_steps - state.global_step
        minutes = (self.time_said - self.begin) / max(1, state.global_step - self.first) * left / 60
        rest = f"; about {minutes:.1f} minutes left" if left else ""
        self._say(f"step {state.global_step:,} of {state.max_steps:,} (epoch {state.epoch:.1f}){loss}{scores}{rest}")

    def _say(self, line: str) -> None:
        with tqdm.external_write_mode():  # the bar makes room
            print_main(line)
