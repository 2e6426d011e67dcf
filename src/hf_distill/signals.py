"""What the teachers say, kept on disk: each distinct sentence is labelled once, not once per epoch."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from accelerate import PartialState
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.arrow_writer import ArrowWriter
from tqdm.auto import tqdm

from .data import sentence_keys
from .teacher import Teacher

SHARD_SENTENCES = 2048


class SignalStore:
    """Word logits of the teachers (averaged), kept on disk, one row per distinct sentence.

    The folder's name is a digest of what the teachers are (weights, tokenizer, windows, label map), of the sentences
    and of the number format. Shards are written under a temporary name and renamed, so a shard that is there is whole;
    each is computed by one process only, and a later run reads what an earlier one wrote.
    """

    def __init__(self, teachers: Sequence[Teacher], dataset: Dataset, folder: str | Path, bf16: bool = False):
        """Find the distinct sentences of `dataset` (column `tokens`); nothing is computed yet."""
        self.teachers = list(teachers)
        self.bf16 = bf16
        position: dict[bytes, int] = {}
        # The row of the store for each row of the dataset.
        self.rows = [position.setdefault(key, len(position)) for key in sentence_keys(dataset)]
        first = np.unique(self.rows, return_index=True)[1]
        self.sentences = dataset.select_columns(["tokens"]).select(first)
        digest = hashlib.sha256(b"float32 bf16" if bf16 else b"float32")
        for teacher in self.teachers:
            digest.update(teacher.fingerprint().encode())
        for key in position:
            digest.update(key)
        self.folder = Path(folder) / digest.hexdigest()[:32]

    def _shards(self) -> list[Path]:
        number = -(-len(self.sentences) // SHARD_SENTENCES)
        return [self.folder / f"shard-{index:05d}-of-{number:05d}.arrow" for index in range(number)]

    @property
    def missing(self) -> Dataset:
        """The distinct sentences that no shard on disk covers."""
        parts = [self._slice(index) for index, path in enumerate(self._shards()) if not path.exists()]
        return concatenate_datasets(parts) if parts else self.sentences.select([])

    def _slice(self, shard: int) -> Dataset:
        start = shard * SHARD_SENTENCES
        return self.sentences.select(range(start, min(start + SHARD_SENTENCES, len(self.sentences))))

    def compute(self) -> Dataset:
        """Compute the shards that are missing, shared out over the processes, and open them all.

        Returns:
            A dataset with a column `teacher_logits` ([words, labels] per distinct sentence).
        """
        state = PartialState()
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = [
            (shard, path)
            for shard, path in enumerate(self._shards())
            if shard % state.num_processes == state.process_index and not path.exists()
        ]
        words = tqdm(
            total=sum(len(self._slice(shard)) for shard, _ in mine),
            desc="Teacher",
            unit=" sentences",
            disable=not mine or not state.is_local_main_process,
        )
        for shard, path in mine:
            part = self._slice(shard)
            written = []
            for start in range(0, len(part), 1024):
                written += self._label(part[start : start + 1024]["tokens"])
                words.update(min(1024, len(part) - start))
            _write_shard(path, written)
        words.close()
        state.wait_for_everyone()
        return concatenate_datasets([Dataset.from_file(str(path)) for path in self._shards()])

    def _label(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        answers = [teacher.predict(sentences, self.bf16) for teacher in self.teachers]
        return [np.mean(scores, axis=0) for scores in zip(*answers, strict=True)]

    def read(self) -> list[np.ndarray]:
        """The logits [words, labels] of every row of the dataset, computed where they are missing."""
        signals = self.compute()["teacher_logits"][:]
        return [np.asarray(signals[row], dtype=np.float32) for row in self.rows]

    def attach(self, encoded: Dataset) -> Dataset:
        """Add the column `teacher_logits` to what `encode_dataset` made of the dataset, cut to each window's words."""
        signals = self.compute()
        labels = len(self.teachers[0].mapping)

        def add(batch: dict[str, list]) -> dict[str, list]:
            stored = signals[[self.rows[sentence] for sentence in batch["sentence"]]]["teacher_logits"]
            windows = zip(stored, batch["first_word"], batch["word_positions"], strict=True)
            return {"teacher_logits": [scores[first : first + len(words)] for scores, first, words in windows]}

        # The closure is large; what it computes is named by what goes in.
        name = hashlib.sha256(f"{encoded._fingerprint} {self.folder.name}".encode()).hexdigest()[:16]
        features = Features({**encoded.features, "teacher_logits": List(List(Value("float32"), length=labels))})
        with PartialState().main_process_first():
            return encoded.map(add, batched=True, features=features, desc="Attaching signals", new_fingerprint=name)


def _write_shard(path: Path, rows: Sequence[np.ndarray]) -> None:
    labels = rows[0].shape[1]
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows).ravel(), pa.float32()), labels)
    offsets = pa.array(np.cumsum([0, *(len(row) for row in rows)]), pa.int32())
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    features = Features({"teacher_logits": List(List(Value("float32"), length=labels))})
    with ArrowWriter(path=str(temporary), features=features) as writer:
        writer.write_table(pa.table({"teacher_logits": pa.ListArray.from_arrays(offsets, values)}))
        writer.finalize()
    os.replace(temporary, path)


def default_signals_dir() -> Path:
    """`hf_distill/signals` in the cache of `datasets`, which users already know how to move and to empty."""
    return Path(datasets.config.HF_CACHE_HOME).expanduser() / "hf_distill" / "signals"
