"""What a teacher says, kept on disk: each distinct sentence is labelled once, not once per epoch."""

import hashlib
import os
import uuid
from collections.abc import Sequence
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

from .data import sentence_keys
from .labels import UserError
from .teacher import Teacher

SHARD_SENTENCES = 2048


class SignalStore:
    """Word logits of a teacher, kept on disk by sentence, for every corpus that holds it.

    The folder's name is a digest of what the teacher is (weights, tokenizer, windows, label map) and of the number
    format. Each shard in it holds sentences' keys and logits; it is written under a temporary name and renamed, so a
    shard that is there is whole. Each sentence is labelled by one process only, and a later run, or another corpus,
    reads what an earlier one wrote.

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
        """Nothing is computed yet.

        Args:
            teacher: who labels.
            dataset: with the column `tokens`.
            folder: holds the stores of all teachers; nodes have to share it.
            bf16: let the teacher compute in bf16.
        """
        self.teacher = teacher
        self.dataset = dataset.select_columns(["tokens"])
        self.bf16 = bf16
        # Each distinct sentence once: its key, the first row that holds it, and for each row its place among the keys.
        self.keys, self.first, self.place = np.unique(sentence_keys(dataset), return_index=True, return_inverse=True)
        digest = hashlib.sha256(b"float32 bf16" if bf16 else b"float32")
        digest.update(teacher.fingerprint().encode())
        self.folder = Path(folder) / digest.hexdigest()[:32]
        self._shards: list[Path] = []
        self._signals: Dataset | None = None
        self._stored = np.full(len(self.keys), -1)

    def _open(self) -> None:
        """Open the shards that are there (memory-mapped), and note for each key its row in them, or -1."""
        shards = sorted(self.folder.glob("*.arrow"))
        if shards == self._shards:
            return
        opened = [Dataset.from_file(str(path)) for path in shards]
        self._shards, self._signals = shards, concatenate_datasets(opened).with_format("arrow") if opened else None
        self._stored[:] = -1
        start = 0
        for shard in opened if len(self.keys) else []:
            column = shard.with_format("arrow")[:]["key"].combine_chunks().cast(pa.binary(self.keys.itemsize))
            keys = np.frombuffer(column.buffers()[1], dtype=self.keys.dtype)
            places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
            known = self.keys[places] == keys
            self._stored[places[known]] = start + np.flatnonzero(known)
            start += len(keys)

    def _missing(self) -> np.ndarray:
        """The first rows of the distinct sentences that no shard on disk holds."""
        self._open()
        return np.sort(self.first[self._stored == -1])

    @property
    def missing(self) -> Dataset:
        """The distinct sentences that no shard on disk holds."""
        return self.dataset.select(self._missing())

    def compute(self) -> None:
        """Label what is missing, shared out over the processes, each of which has to call this.

        Raises:
            UserError: signals that another process should have written are not in the folder.
        """
        state = PartialState()
        self.folder.mkdir(parents=True, exist_ok=True)
        [missing] = broadcast_object_list([self._missing()])  # one list for all, whatever is written meanwhile
        parts = [missing[start : start + SHARD_SENTENCES] for start in range(0, len(missing), SHARD_SENTENCES)]
        mine = parts[state.process_index :: state.num_processes]
        hidden = not mine or not state.is_local_main_process
        with tqdm(total=sum(map(len, mine)), desc="Teacher", unit=" sentences", disable=hidden) as progress:
            for rows in mine:
                written = []
                for start in range(0, len(rows), 1024):
                    written += self.teacher.predict(self.dataset[rows[start : start + 1024]]["tokens"], self.bf16)
                    progress.update(len(rows[start : start + 1024]))
                _write_shard(self.folder, self.keys[self.place[rows]], written)
        state.wait_for_everyone()
        self._open()
        absent = (self._stored == -1).sum()
        if absent:
            raise UserError(
                f"{self.folder}: {absent:,} sentences have no signals after labelling. Do all nodes share the folder "
                "(--signals_dir)?"
            )

    def fetch(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The logits [words, labels] of rows of the dataset, all of which `compute` has labelled."""
        return _arrays(self._signals[self._stored[self.place[rows]]]["teacher_logits"])


def read_signals(stores: Sequence[SignalStore]) -> list[np.ndarray]:
    """The logits [words, labels] of every row of the stores' dataset, computed where they are missing; of several
    teachers as `average` has it.
    """
    for store in stores:
        store.compute()
    rows = np.arange(len(stores[0].dataset))
    return average([store.fetch(rows) for store in stores]) if len(rows) else []


def attach_signals(stores: Sequence[SignalStore], encoded: Dataset) -> Dataset:
    """Add to what `encode_dataset` made of the stores' dataset the column `teacher_logits`, cut to each window's words;
    of several teachers as `average` has it.

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> teacher, train = load_teacher("my-org/biobert-genes", tags), load_tsv("train.tsv", "IOBES")
        >>> rows = encode_dataset(train, teacher.tokenizer, 512, tags)
        >>> taught = attach_signals([SignalStore(teacher, train, "signals")], rows)
        >>> set(taught.column_names) - set(rows.column_names)
        {'teacher_logits'}
    """
    for store in stores:
        store.compute()

    def add(batch: pa.Table) -> pa.Table:
        rows = batch["sentence"].to_numpy()
        stored = average([store.fetch(rows) for store in stores])
        words = pc.list_value_length(batch["word_positions"]).to_numpy()
        windows = zip(stored, batch["first_word"].to_numpy(), words, strict=True)
        cut = [scores[first : first + number] for scores, first, number in windows]
        return batch.append_column("teacher_logits", _lists(cut))

    # The closure is large; what it computes is named by what goes in.
    names = " ".join(store.folder.name for store in stores)
    name = hashlib.sha256(f"{encoded._fingerprint} {names}".encode()).hexdigest()[:16]
    labels = len(stores[0].teacher.mapping)
    features = Features({**encoded.features, "teacher_logits": List(List(Value("float32"), length=labels))})
    with PartialState().main_process_first():
        attached = encoded.with_format("arrow").map(
            add, batched=True, features=features, desc="Attaching signals", new_fingerprint=name
        )
    return attached.with_format(None)


def average(answers: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Logits of several teachers as one: the logarithms of the mean of their probabilities.

    Args:
        answers: of each teacher, for each sentence its logits [words, labels].

    Returns:
        For each sentence [words, labels]; of a single teacher its logits as they are.
    """
    if len(answers) == 1:
        return list(answers[0])
    logits = np.stack([np.concatenate(answer) for answer in answers])
    mean = logsumexp(log_softmax(logits, axis=-1), axis=0) - np.log(len(answers))
    return np.split(mean.astype(np.float32), np.cumsum([len(scores) for scores in answers[0]])[:-1])


def _lists(rows: Sequence[np.ndarray]) -> pa.ListArray:
    """Arrays [words, labels] as an Arrow column."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows).ravel(), pa.float32()), rows[0].shape[1])
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, rows)]), pa.int32()), values)


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray]:
    """The inverse of `_lists`."""
    lists = column.combine_chunks()
    values = lists.flatten()
    scores = values.flatten().to_numpy().reshape(-1, values.type.list_size)
    return np.split(scores, np.cumsum(pc.list_value_length(lists).to_numpy())[:-1])


def _write_shard(folder: Path, keys: np.ndarray, rows: Sequence[np.ndarray]) -> None:
    path = folder / f"{hashlib.sha256(keys.tobytes()).hexdigest()[:32]}.arrow"
    temporary = path.with_suffix(f".tmp-{uuid.uuid4().hex}")
    labels = rows[0].shape[1]
    features = Features({"key": Value("binary"), "teacher_logits": List(List(Value("float32"), length=labels))})
    with ArrowWriter(path=str(temporary), features=features) as writer:
        # Keys one by one: NumPy would strip the zero bytes at their ends.
        content = [keys[row : row + 1].tobytes() for row in range(len(keys))]
        writer.write_table(pa.table({"key": pa.array(content, pa.binary()), "teacher_logits": _lists(rows)}))
        writer.finalize()
    os.replace(temporary, path)


def default_signals_dir() -> Path:
    """`hf_distill/signals` in the cache of `datasets`, which users already know how to move and to empty."""
    return Path(datasets.config.HF_CACHE_HOME).expanduser() / "hf_distill" / "signals"
