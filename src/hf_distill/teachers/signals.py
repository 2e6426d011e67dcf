"""Stored teacher outputs ("signals"): the word logits of each distinct sentence, computed once and kept on disk."""

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.arrow_writer import ArrowWriter
from datasets.utils import tqdm
from scipy.special import log_softmax, logsumexp
from transformers.utils import logging

from ..data.statistics import sentence_keys
from ..files import TEMPORARY, file_digest
from ..runtime.tags import UserError
from .teacher import Teacher

logger = logging.get_logger(__name__)

SHARD_SENTENCES = 2048


class SignalStore:
    """A teacher's word logits for the sentences of a dataset, stored on disk and shared by all corpora and runs.

    The folder's name is a digest of the teacher (weights, tokenizer, windows, label map) and the number format. It
    contains Arrow shards of sentence keys and logits, which are written atomically; the digest of its content is the
    name of each, and is checked once. Each distinct sentence is computed
    once, by one process.

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> text = load_unlabeled(["pubmed.txt"])
        >>> store = SignalStore(load_teacher("my-org/biobert-genes", tags), text, "signals")
        >>> store.compute()
        >>> len(store.missing)
        0
        >>> store.fetch([0])[0].shape == (len(text[0]["tokens"]), len(tags))
        True
    """

    def __init__(self, teacher: Teacher, dataset: Dataset, folder: str | Path, bf16: bool = False):
        """Prepare a store without computing anything.

        Args:
            teacher: the teacher.
            dataset: sentences, with the column `tokens`.
            folder: parent folder of the stores of all teachers; nodes must share it.
            bf16: run the teacher under bf16 autocast.
        """
        self.teacher = teacher
        self.dataset = dataset.select_columns(["tokens"])
        self.bf16 = bf16
        # Keys of the distinct sentences, the first row of each, and the index among the keys of each row's sentence.
        self.keys, self.first, self.place = np.unique(sentence_keys(dataset), return_index=True, return_inverse=True)
        digest = hashlib.sha256(b"float32 2 bf16" if bf16 else b"float32 2")
        digest.update(teacher.fingerprint().encode())
        self.folder = Path(folder) / digest.hexdigest()[:32]
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
        [missing] = broadcast_object_list([self._missing_rows()])  # the same for all, whatever is written meanwhile
        parts = [missing[start : start + SHARD_SENTENCES] for start in range(0, len(missing), SHARD_SENTENCES)]
        own_parts = parts[state.process_index :: state.num_processes]
        hidden = not own_parts or not state.is_local_main_process
        with tqdm(total=sum(map(len, own_parts)), desc="Teacher", unit=" sentences", disable=hidden) as progress:
            for rows in own_parts:
                logits = []
                for start in range(0, len(rows), 1024):
                    logits += self.teacher.predict(self.dataset[rows[start : start + 1024]]["tokens"], self.bf16)
                    progress.update(len(rows[start : start + 1024]))
                _write_shard(self.folder, self.keys[self.place[rows]], logits)
        state.wait_for_everyone()
        self._open_shards()
        missing_count = (self._stored == -1).sum()
        if missing_count:
            raise UserError(
                f"{self.folder}: {missing_count:,} sentences have no signals after labelling. Check that all nodes "
                "share the folder (--signals_dir)."
            )

    def fetch(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return the logits [words, labels] of rows of the dataset. Call `compute` first."""
        assert self._signals is not None  # `compute` has opened the shards
        return _from_arrow(self._signals[self._stored[self.place[rows]]]["teacher_logits"])


def read_signals(stores: Sequence[SignalStore]) -> list[np.ndarray]:
    """Return the logits [words, labels] of each row of the stores' dataset, averaged over the stores' teachers.

    Missing logits are computed first.
    """
    for store in stores:
        store.compute()
    rows = np.arange(len(stores[0].dataset))
    return average([store.fetch(rows) for store in stores]) if len(rows) else []


def attach_signals(stores: Sequence[SignalStore], encoded: Dataset) -> Dataset:
    """Add the column `teacher_logits` to an encoded dataset: the logits of each window's words, averaged over teachers.

    Missing logits are computed first.

    Args:
        stores: one store per teacher, all of the same dataset.
        encoded: that dataset, encoded by `encode_dataset`.

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher, train = load_teacher("my-org/biobert-genes", tags), load_tsv("train.tsv", "IOBES")
        >>> rows = encode_dataset(train, teacher.tokenizer, 512, tags)
        >>> with_logits = attach_signals([SignalStore(teacher, train, "signals")], rows)
        >>> set(with_logits.column_names) - set(rows.column_names)
        {'teacher_logits'}
    """
    for store in stores:
        store.compute()

    def add(batch: pa.Table) -> pa.Table:
        rows = batch["sentence"].to_numpy()
        stored = average([store.fetch(rows) for store in stores])
        words = pc.list_value_length(batch["word_positions"]).to_numpy()
        windows = zip(stored, batch["first_word"].to_numpy(), words, strict=True)
        logits = [scores[first : first + number] for scores, first, number in windows]
        return batch.append_column("teacher_logits", _to_arrow(logits))

    # An explicit fingerprint: hashing the closure, with the teachers in it, would take long.
    names = " ".join(store.folder.name for store in stores)
    fingerprint = hashlib.sha256(f"{encoded._fingerprint} {names}".encode()).hexdigest()[:16]
    labels = len(stores[0].teacher.labels.tags)
    features = Features({**encoded.features, "teacher_logits": List(List(Value("float32"), length=labels))})
    with PartialState().main_process_first():
        attached = encoded.with_format("arrow").map(
            add, batched=True, features=features, desc="Attaching signals", new_fingerprint=fingerprint
        )
    return attached.with_format(None)


def average(answers: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Average the predictions of several teachers: the log of the mean of their probabilities.

    Args:
        answers: for each teacher, the logits [words, labels] of each sentence.

    Returns:
        [words, labels] for each sentence; the unchanged logits if there is one teacher.
    """
    if len(answers) == 1:
        return list(answers[0])
    logits = np.stack([np.concatenate(sentences) for sentences in answers])
    mean = logsumexp(log_softmax(logits, axis=-1), axis=0) - np.log(len(answers))
    return np.split(mean.astype(np.float32), np.cumsum([len(scores) for scores in answers[0]])[:-1])


def _to_arrow(rows: Sequence[np.ndarray]) -> pa.ListArray:
    """Convert arrays [words, labels] to an Arrow column."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows).ravel(), pa.float32()), rows[0].shape[1])
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


def _write_shard(folder: Path, keys: np.ndarray, rows: Sequence[np.ndarray]) -> None:
    """Write a shard whose name is the digest of its content."""
    if not all(np.isfinite(scores).all() for scores in rows):
        raise UserError("The teacher's outputs are not all finite numbers. Try --bf16 0, or check its weights.")
    temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
    labels = rows[0].shape[1]
    features = Features({"key": Value("binary"), "teacher_logits": List(List(Value("float32"), length=labels))})
    with ArrowWriter(path=str(temporary), features=features) as writer:
        # Slices, because NumPy strips trailing zero bytes from single elements.
        content = [keys[row : row + 1].tobytes() for row in range(len(keys))]
        writer.write_table(pa.table({"key": pa.array(content, pa.binary()), "teacher_logits": _to_arrow(rows)}))
        writer.finalize()
    os.replace(temporary, folder / f"{file_digest(temporary)}.arrow")


def default_signals_dir() -> Path:
    """Return the default --signals_dir: `hf_distill/signals` in the cache folder of `datasets`."""
    return Path(datasets.config.HF_CACHE_HOME).expanduser() / "hf_distill" / "signals"
