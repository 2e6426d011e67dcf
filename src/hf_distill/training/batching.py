"""Batches: collator, sampler, word values from subword values, and what was predicted in batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from torch.utils.data import Sampler
from transformers import EvalPrediction, PreTrainedTokenizerBase, Trainer

from ..data.encoding import pad
from ..runtime.windows import Window, make_windows, pad_windows
from ..runtime.word_features import FEATURES, word_feature_rows
from ..teachers.teacher import Teacher


class DistillationCollator:
    """Pads rows of `encode_dataset` to a batch; tokenises for a live teacher with another tokenizer.

    A batch has `input_ids`, `attention_mask` [batch, subwords], for students that read them `word_features`
    [batch, subwords, 3], `word_positions`, `word_mask` and `labels` [batch, words]. Rows of `attach_signals` add
    `teacher_logits` [batch, words, n], `teacher_labels` [batch, words, n - 1] if these are the largest, and
    `signal_mask` [batch, words].
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, teacher: Teacher | None = None):
        self.tokenizer = tokenizer
        self.teacher = teacher
        self.shared = teacher is None or teacher.reads_windows_of(tokenizer)

    def __call__(self, rows: Sequence[Mapping]) -> dict[str, Tensor]:
        words = [len(row["word_positions"]) for row in rows]
        batch = {
            "input_ids": pad([row["input_ids"] for row in rows], self.tokenizer.pad_token_id),
            "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows]),
            "word_positions": pad([row["word_positions"] for row in rows]),
            "word_mask": pad([[True] * count for count in words], False, torch.bool),
            "labels": pad([row["labels"] for row in rows], -100),
        }
        if "word_features" in rows[0]:
            features = (np.frombuffer(row["word_features"], np.uint16).reshape(-1, FEATURES) for row in rows)
            batch["word_features"] = pad([each.astype(np.int64) for each in features])
        stored = [row.get("teacher_logits") for row in rows]
        missing = any(scores is None for scores in stored)
        if not missing or (self.teacher is None and any(scores is not None for scores in stored)):
            batch["teacher_logits"] = _unpack(rows, "teacher_logits", np.float32, torch.float32)
            if any(row.get("teacher_labels") for row in rows):
                batch["teacher_labels"] = _unpack(rows, "teacher_labels", np.uint16, torch.long)
            mask = [[scores is not None] * count for scores, count in zip(stored, words, strict=True)]
            batch["signal_mask"] = pad(mask, False, torch.bool)
        elif not self.shared and "tokens" in rows[0]:  # rows to evaluate on may lack them
            batch |= self._encode_for_teacher(rows)
        return batch

    def _encode_for_teacher(self, rows: Sequence[Mapping]) -> dict[str, Tensor]:
        """The teacher's windows of each row's sentence, and (window, first subword) of each of the row's words."""
        assert self.teacher is not None  # else its tokenizer counts as shared
        windows: list[Window] = []
        places: list[list[tuple[int, int]]] = []
        sentences = [row["tokens"] for row in rows]
        feature_rows = word_feature_rows(self.teacher.model.config)
        split = make_windows(self.teacher.tokenizer, sentences, self.teacher.max_length, feature_rows)
        for row, sentence_windows in zip(rows, split, strict=True):
            sentence_places: list[tuple[int, int]] = []
            for window in sentence_windows:
                sentence_places += [(len(windows), position) for position in window.word_positions]
                windows.append(window)
            first = row["first_word"]
            places.append(sentence_places[first : first + len(row["word_positions"])])
        inputs = pad_windows(windows, self.teacher.tokenizer.pad_token_id)
        return {f"teacher_{name}": torch.from_numpy(values) for name, values in inputs.items()} | {
            "teacher_places": pad(places)
        }


def _unpack(rows: Sequence[Mapping], name: str, stored: DTypeLike, dtype: torch.dtype) -> Tensor:
    """Arrays [words, n] of the bytes in a column, padded; zeros where there are none."""
    sizes = {len(row["word_positions"]): len(row[name]) for row in rows if row.get(name)}
    [width] = {size // np.dtype(stored).itemsize // words for words, size in sizes.items()}
    arrays = [np.zeros((len(row["word_positions"]), width), stored) for row in rows]
    for row, array in zip(rows, arrays, strict=True):
        if row.get(name):
            array[:] = np.frombuffer(row[name], stored).reshape(array.shape)
    return pad(arrays, dtype=dtype)


class EpochSampler(Sampler[int]):
    """Row order for batches of equally long sentences. It depends only on the seed and the epoch.

    Sentences are shuffled, sorted by length and split into batches, which are shuffled again. Nearly all sentences of
    a batch then have the same length: there is little padding, and a packed LSTM runs at full speed. A resumed run
    continues in the order of an uninterrupted one, and one process with a batch of 32 trains on the same batches as
    two with 16 or four accumulated steps of 8. (But accelerate fills up an epoch's last step with rows of its first
    where there are several processes.)

    Args:
        trainer: gives the seed and the epoch.
        lengths: number of subwords of each row.
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
        full, rest = divmod(len(order), self.step_size)
        # What does not fill a step has to come last: elsewhere it would shift the batches after it. It is cut out at
        # random, since it weighs more there, and is left out by `dataloader_drop_last`.
        start = random.integers(full + 1) * self.step_size
        last, order = order[start : start + rest], np.delete(order, slice(start, start + rest))
        for step in random.permutation(order.reshape(full, self.step_size)):
            yield from step.tolist()
        yield from last.tolist()


def gather_words(subword_values: Tensor, word_positions: Tensor) -> Tensor:
    """Select the value at each word's first subword: [batch, subwords, n] and [batch, words] give [batch, words, n]."""
    return subword_values[torch.arange(len(word_positions), device=word_positions.device)[:, None], word_positions]


def join_batches(prediction: EvalPrediction) -> EvalPrediction:
    """Return what comes by batch, as with `eval_do_concat_batches=False`, in arrays that are padded with -100."""

    def join(batches: Any) -> Any:
        if not isinstance(batches, list):
            return batches
        shape = np.max([batch.shape for batch in batches], axis=0)
        joined = np.full((sum(map(len, batches)), *shape[1:]), -100, batches[0].dtype)
        row = 0
        for batch in batches:
            joined[(slice(row, row + len(batch)), *map(slice, batch.shape[1:]))] = batch
            row += len(batch)
        return joined

    values = (prediction.predictions, prediction.label_ids, prediction.inputs, prediction.losses)
    return EvalPrediction(*map(join, values))
