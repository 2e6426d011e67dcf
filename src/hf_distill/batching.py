"""From rows to batches: which sentences stand together, and how they are padded."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase, Trainer

from .alignment import make_windows, pad, same_tokenizer
from .teacher import Teacher


class DistillationCollator:
    """Pads rows of `encode_dataset` to a batch; tokenises for a live teacher whose tokenizer is not the student's.

    A batch has `input_ids`, `attention_mask` [batch, subwords], `word_positions`, `word_mask` and `labels`
    [batch, words]. Where rows carry `teacher_logits` it also has them, [batch, words, labels], with `signal_mask`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, teacher: Teacher | None = None):
        self.tokenizer = tokenizer
        self.teacher = teacher
        self.shared = teacher is None or same_tokenizer(tokenizer, teacher.tokenizer)

    def __call__(self, rows: Sequence[Mapping]) -> dict[str, Tensor]:
        words = [len(row["word_positions"]) for row in rows]
        batch = {
            "input_ids": pad([row["input_ids"] for row in rows], self.tokenizer.pad_token_id),
            "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows]),
            "word_positions": pad([row["word_positions"] for row in rows]),
            "word_mask": pad([[True] * count for count in words], False, torch.bool),
            "labels": pad([row["labels"] for row in rows], -100),
        }
        stored = [row.get("teacher_logits") for row in rows]
        missing = any(scores is None for scores in stored)
        if not missing or (self.teacher is None and any(scores is not None for scores in stored)):
            labels = len(next(scores for scores in stored if scores)[0])
            empty = [[0.0] * labels]
            logits = [empty * count if scores is None else scores for scores, count in zip(stored, words, strict=True)]
            marks = [[scores is not None] * count for scores, count in zip(stored, words, strict=True)]
            batch["teacher_logits"] = pad(logits, 0.0, torch.float32)
            batch["signal_mask"] = pad(marks, False, torch.bool)
        elif not self.shared:
            batch |= self._encode_for_teacher(rows)
        return batch

    def _encode_for_teacher(self, rows: Sequence[Mapping]) -> dict[str, Tensor]:
        """The teacher's windows of each row's whole sentence, and where in them each of the row's words speaks."""
        windows, places = [], []
        sentences = [row["tokens"] for row in rows]
        for row, cut in zip(
            rows, make_windows(self.teacher.tokenizer, sentences, self.teacher.max_length), strict=True
        ):
            sentence_places = []
            for window in cut:
                sentence_places += [(len(windows), position) for position in window.word_positions]
                windows.append(window)
            first = row["first_word"]
            places.append(sentence_places[first : first + len(row["word_positions"])])
        pad_id = self.teacher.tokenizer.pad_token_id
        return {
            "teacher_input_ids": pad([window.input_ids for window in windows], pad_id),
            "teacher_attention_mask": pad([[1] * len(window.input_ids) for window in windows]),
            "teacher_places": pad(places),
        }


class EpochSampler(Sampler[int]):
    """Batches of sentences of one length, in an order that the seed and the epoch alone decide.

    Sentences are shuffled, sorted by length and cut into batches, which are shuffled again. Nearly every batch then has
    a single length: there is little padding, and a packed LSTM runs at full speed. A resumed run goes on with the order
    that the interrupted one would have had, and one process with a batch of 32 sees the same batches as two with 16 or
    four accumulated steps of 8.

    Args:
        trainer: knows seed and epoch.
        lengths: subwords of each row.
        step_size: rows per optimiser step, over all processes.
    """

    def __init__(self, trainer: Trainer, lengths: Sequence[int], step_size: int):
        self.trainer = trainer
        self.lengths = np.asarray(lengths)
        self.step_size = step_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        args = self.trainer.args
        seed = args.seed if args.data_seed is None else args.data_seed
        random = np.random.default_rng([seed, int(self.trainer.state.epoch or 0)])
        order = random.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        steps = np.split(order, range(self.step_size, len(order), self.step_size))
        # The last step may be short; it has to come last, or it would shift the cuts of all later ones.
        for index in (*random.permutation(len(steps) - 1), len(steps) - 1):
            yield from steps[index].tolist()
