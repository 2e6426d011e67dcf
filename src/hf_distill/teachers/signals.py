"""Stored teacher outputs ("signals"): the word logits of each distinct sentence, computed once and kept on disk.

A sentence that a labeller does not answer has NaN in their place.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.arrow_writer import ArrowWriter
from datasets.utils import tqdm
from scipy.special import log_softmax, logsumexp
from transformers.utils import logging

from ..data.statistics import sentence_keys
from ..files import file_digest, remove_dead, temporary_folder
from ..runtime.tags import UserError
from .annotations import certain
from .compression import ALL, LARGEST, Signals, compress, restore
from .teacher import WordTeacher

logger = logging.get_logger(__name__)

SHARD_SENTENCES = 2048
# The formats of stores, part of the names of their folders: increase the number when the content changes.
STORED, STORED_LARGEST = "float32 2", f"{LARGEST} largest, float32 3"
OTHER_DATASET = (
    "Sentence {} of the encoded dataset has other words than that of the stores. Encode the stores' dataset, in its "
    "order and in one piece: rows of datasets that were encoded apart do not belong together."
)


class SignalStore:
    """A teacher's word logits for the sentences of a dataset, stored on disk and shared by all corpora and runs.

    The folder's name is a digest of the teacher (weights, tokenizer, windows, label map) and the format. It contains
    Arrow shards of sentence keys and logits (the `LARGEST`, where labels are many), which are written atomically; the
    digest of its content is the name of each, and is checked once. Each distinct sentence is computed once, by one
    process.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> text = load_unlabeled(["pubmed.txt"])
        >>> store = SignalStore(load_teacher("my-org/biobert-genes", tags), text, "signals")
        >>> store.compute()
        >>> len(store.missing)
        0
        >>> store.fetch([0])[0].logits.shape == (len(text[0]["tokens"]), len(tags))
        True
    """

    def __init__(self, teacher: WordTeacher, dataset: Dataset, folder: str | Path, bf16: bool = False):
        """Prepare a store without computing anything.

        Args:
            teacher: the teacher, or what else labels words.
            dataset: sentences, with the column `tokens`.
            folder: parent folder of the stores of all teachers; nodes must share it.
            bf16: run the teacher under bf16 autocast.
        """
        self.teacher = teacher
        self.dataset = dataset.select_columns(["tokens"])
        self.bf16 = bf16
        # Keys of the distinct sentences, the first row of each, and the index among the keys of each row's sentence.
        self.keys, self.first, self.place = np.unique(sentence_keys(dataset), return_index=True, return_inverse=True)
        own, earlier = (
            Path(folder) / hashlib.sha256(f"{form}{' bf16' * bf16}{teacher.fingerprint()}".encode()).hexdigest()[:32]
            for form in (STORED if len(teacher.tags) <= ALL else STORED_LARGEST, STORED)
        )
        self.folder, self.earlier = own, earlier if earlier != own and earlier.exists() else None
        self._shards: list[Path] = []
        self._signals: Dataset | None = None
        self._stored = np.full(len(self.keys), -1)

    def _open_shards(self) -> None:
        """Memory-map the existing shards, and record the row of each key in them, or -1."""
        shards = sorted(path for path in self.folder.glob("*.arrow") if path in self._shards or _is_whole(path))
        if shards == self._shards:
            return
        opened = [Dataset.from_file(str(path)) for path in shards]
        self._shards, self._signals = shards, concatenate_datasets(opened).with_format("arrow") if opened else None
        self._stored[:] = -1
        start = 0
        for shard in opened if len(self.keys) else []:
            column = shard.with_format("arrow")[:]["key"].combine_chunks().cast(pa.binary(self.keys.itemsize))
            keys = np.frombuffer(column.buffers()[1], dtype=self.keys.dtype)
            indices = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
            known = self.keys[indices] == keys
            self._stored[indices[known]] = start + np.flatnonzero(known)
            start += len(keys)

    def _missing_rows(self) -> np.ndarray:
        """Return the first row of each distinct sentence that is not stored."""
        self._open_shards()
        return np.sort(self.first[self._stored == -1])

    @property
    def missing(self) -> Dataset:
        """The distinct sentences that are not stored."""
        return self.dataset.select(self._missing_rows())

    def compute(self) -> None:
        """Compute and store the missing logits. All processes must call this; they divide the sentences.

        Raises:
            UserError: signals written by another process are missing from the folder.
        """
        state = PartialState()
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_dead(self.folder)
        if self.earlier and state.is_main_process:
            logger.warning_once(
                f"{self.earlier}: this teacher's signals as an earlier version stored them, of all labels. They are "
                "not read any more: remove the folder."
            )
        [missing] = broadcast_object_list([self._missing_rows()])  # the same for all, whatever is written meanwhile
        parts = [missing[start : start + SHARD_SENTENCES] for start in range(0, len(missing), SHARD_SENTENCES)]
        own_parts = parts[state.process_index :: state.num_processes]
        hidden = not own_parts or not state.is_local_main_process
        with tqdm(total=sum(map(len, own_parts)), desc="Teacher", unit=" sentences", disable=hidden) as progress:
            for rows in own_parts:
                signals: list[Signals] = []
                for start in range(0, len(rows), 1024):
                    logits = self.teacher.predict(self.dataset[rows[start : start + 1024]]["tokens"], self.bf16)
                    signals += compress(logits)
                    progress.update(len(logits))
                _write_shard(self.folder, self.keys[self.place[rows]], signals)
        state.wait_for_everyone()
        self._open_shards()
        missing_count = (self._stored == -1).sum()
        if missing_count:
            raise UserError(
                f"{self.folder}: {missing_count:,} sentences have no signals after labelling. Check that all nodes "
                "share the folder (--signals_dir)."
            )

    def fetch(self, rows: Sequence[int] | np.ndarray) -> list[Signals]:
        """Return the signals of rows of the dataset. Call `compute` first."""
        assert self._signals is not None  # `compute` has opened the shards
        table = self._signals[self._stored[self.place[rows]]]
        return list(map(Signals, *(_from_arrow(table[name]) for name in table.column_names if name != "key")))


def read_signals(stores: Sequence[SignalStore]) -> list[np.ndarray]:
    """Return the logits [words, labels] of each row of the stores' dataset, averaged over the teachers that answer it;
    NaN where none does.

    Missing logits are computed first.
    """
    for store in stores:
        store.compute()
    rows = np.arange(len(stores[0].dataset))
    return _average(stores, rows) if len(rows) else []


def attach_signals(stores: Sequence[SignalStore], encoded: Dataset) -> Dataset:
    """Add the signals of each window's words, averaged over teachers, to an encoded dataset: a column `teacher_logits`
    and, if only the largest are stored, `teacher_labels`, as the bytes of the arrays of `Signals`.

    Missing logits are computed first. A sentence that no teacher answers has its own labels for an answer.

    Args:
        stores: one store per teacher, all of the same dataset.
        encoded: that dataset, encoded by `encode_dataset`.

    Raises:
        UserError: the teachers were loaded for other labels than the dataset is encoded for, or in another order; the
            encoded dataset has words that the stores' has not; a sentence has neither answer nor labels.

    Examples:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher, train = load_teacher("my-org/biobert-genes", tags), load_tsv("train.tsv", "IOBES")
        >>> rows = encode_dataset(train, teacher.tokenizer, 512, tags)
        >>> with_logits = attach_signals([SignalStore(teacher, train, "signals")], rows)
        >>> set(with_logits.column_names) - set(rows.column_names)
        {'teacher_logits'}
    """
    names = getattr(getattr(encoded.features["labels"], "feature", None), "names", None)  # those of `encode_dataset`
    for store in stores:
        if names and names != list(store.teacher.tags):
            raise UserError(
                f"The teacher was loaded for the labels {', '.join(store.teacher.tags)}; the dataset is encoded for "
                f"{', '.join(names)}. Give load_teacher and encode_dataset the same tags."
            )
        store.compute()

    n_words = np.zeros(len(stores[0].dataset), int)
    for batch in encoded.select_columns(["sentence", "word_positions"]).with_format("arrow").iter(10_000):
        rows = batch["sentence"].to_numpy()
        if rows.max() >= len(n_words):
            raise UserError(OTHER_DATASET.format(rows.max()))
        np.add.at(n_words, rows, pc.list_value_length(batch["word_positions"]).to_numpy())

    n_labels = len(stores[0].teacher.tags)
    names = ["teacher_logits"] if n_labels <= ALL else ["teacher_logits", "teacher_labels"]

    def add(batch: pa.Table) -> pa.Table:
        rows = batch["sentence"].to_numpy()
        stored = stores[0].fetch(rows) if len(stores) == 1 else compress(_average(stores, rows))
        words = pc.list_value_length(batch["word_positions"]).to_numpy()
        windows = zip(rows, stored, batch["first_word"].to_numpy(), words, batch["labels"].to_pylist(), strict=True)
        content = []
        for row, signals, first, number, labels in windows:
            if max(n_words[row], first + number) > len(signals.logits):
                raise UserError(OTHER_DATASET.format(row))
            parts = [each[first : first + number] for each in signals if each is not None]
            if np.isnan(parts[0]).any():
                if -100 in labels:
                    raise UserError(f"Sentence {row} has no labels, and no teacher answers it: leave it out.")
                parts = [each for each in compress([certain(labels, n_labels)])[0] if each is not None]
            # Bytes, because `datasets` makes a Python object of each number in a list.
            content.append([each.tobytes() for each in parts])
        for name, column in zip(names, zip(*content, strict=True), strict=True):
            batch = batch.append_column(name, pa.array(column, pa.binary()))
        return batch

    # An explicit fingerprint: hashing the closure, with the teachers in it, would take long.
    parts = " ".join(["bytes", encoded._fingerprint, *(store.folder.name for store in stores)])
    fingerprint = hashlib.sha256(parts.encode()).hexdigest()[:16]
    features = Features({**encoded.features, **dict.fromkeys(names, Value("binary"))})
    with PartialState().main_process_first():
        attached = encoded.with_format("arrow").map(
            add, batched=True, features=features, desc="Attaching signals", new_fingerprint=fingerprint
        )
    return attached.with_format(None)


def _average(stores: Sequence[SignalStore], rows: np.ndarray) -> list[np.ndarray]:
    """The logits [words, labels] of rows of the stores' dataset: of a single teacher, as they are stored; of several,
    the log of the mean of the probabilities of those that answer.
    """
    answers = [_all_labels(store.fetch(rows), len(store.teacher.tags)) for store in stores]
    if len(answers) == 1:
        return answers[0]
    logits = log_softmax(np.stack([np.concatenate(sentences) for sentences in answers]), axis=-1)
    silent = np.isnan(logits)
    mean = logsumexp(np.where(silent, -np.inf, logits), axis=0)
    mean = np.where(silent.all(0), np.nan, mean - np.log(np.maximum((~silent).sum(0), 1)))
    return np.split(mean.astype(np.float32), np.cumsum([len(scores) for scores in answers[0]])[:-1])


def _all_labels(signals: Sequence[Signals], n_labels: int) -> list[np.ndarray]:
    """The logits [words, labels] of each sentence."""
    return [
        logits if labels is None else restore(torch.tensor(logits), torch.tensor(labels.astype(int)), n_labels).numpy()
        for logits, labels in signals
    ]


def _to_arrow(rows: Sequence[np.ndarray]) -> pa.ListArray:
    """Convert arrays [words, n] to an Arrow column."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows).ravel()), rows[0].shape[1])
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, rows)]), pa.int32()), values)


def _from_arrow(column: pa.ChunkedArray) -> list[np.ndarray]:
    """The inverse of `_to_arrow`."""
    lists = column.combine_chunks()
    values = lists.flatten()
    scores = values.flatten().to_numpy().reshape(-1, values.type.list_size)
    return np.split(scores, np.cumsum(pc.list_value_length(lists).to_numpy())[:-1])


def _is_whole(path: Path) -> bool:
    """Whether a shard is as it was written, by the digest in its name. If not, it is set aside, and this is said."""
    if path.is_file() and path.stem == file_digest(path):
        return True
    aside = path.with_suffix(".damaged")
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
        logger.warning(f"{path}: is not as it was written: set aside as {aside.name}, its sentences are labelled anew.")
    return False


def _write_shard(folder: Path, keys: np.ndarray, signals: Sequence[Signals]) -> None:
    """Write a shard whose name is the digest of its content."""
    # Slices, because NumPy strips trailing zero bytes from single elements.
    table = {"key": pa.array([keys[row : row + 1].tobytes() for row in range(len(keys))], pa.binary())}
    features = {"key": Value("binary")}
    for name, rows in zip(("teacher_logits", "teacher_labels"), zip(*signals, strict=True), strict=True):
        if rows[0] is not None:
            table[name] = _to_arrow(rows)
            features[name] = List(List(Value(str(rows[0].dtype)), length=rows[0].shape[1]))
    with temporary_folder(folder) as temporary:
        path = temporary / "shard"
        with ArrowWriter(path=str(path), features=Features(features)) as writer:
            writer.write_table(pa.table(table))
            writer.finalize()
        os.replace(path, folder / f"{file_digest(path)}.arrow")


def default_signals_dir() -> Path:
    """Return the default --signals_dir: `hf_distill/signals` in the cache folder of `datasets`."""
    return Path(datasets.config.HF_CACHE_HOME).expanduser() / "hf_distill" / "signals"
