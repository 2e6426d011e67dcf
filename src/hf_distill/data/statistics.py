"""Statistics of a corpus (entity types, words, mentions) and detection of duplicate sentences."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset


def known_types(dataset: Dataset) -> list[str]:
    """Return the distinct entity types of a dataset, sorted."""
    return sorted({tag[2:] for tags in dataset["tags"] if tags for tag in tags if tag != "O"})


def hash_sentences(tokens: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """Return a 16-byte hash of each sentence's tokens."""
    joined = pc.binary_join(tokens, "\t").cast(pa.binary())
    digests = [hashlib.blake2b(text, digest_size=16).digest() for text in joined.to_pylist()]
    return np.frombuffer(b"".join(digests), dtype="S16")


def sentence_keys(dataset: Dataset) -> np.ndarray:
    """Return `hash_sentences` of all rows, in order."""
    batches = dataset.select_columns(["tokens"]).with_format("arrow").iter(10_000)
    return np.concatenate([np.array([], dtype="S16"), *(hash_sentences(batch["tokens"]) for batch in batches)])


def find_leaked(dataset: Dataset, evaluation: Iterable[Dataset]) -> np.ndarray:
    """Return whether the sentence of each row of `dataset` also occurs in one of the evaluation datasets."""
    evaluation_keys = np.concatenate([np.array([], dtype="S16"), *(sentence_keys(each) for each in evaluation)])
    return np.isin(sentence_keys(dataset), evaluation_keys)


def mention_counts(dataset: Dataset) -> dict[str, int]:
    """Count the mentions of each entity type, sorted by type; empty for unlabelled data."""
    counts: Counter[str] = Counter()
    for batch in dataset.with_format("arrow").iter(10_000):
        for tag in pc.value_counts(batch["tags"].combine_chunks().flatten()).to_pylist():
            if tag["values"][:1] in "BS":  # each mention has exactly one such tag
                counts[tag["values"][2:]] += tag["counts"]
    return dict(sorted(counts.items()))


def word_count(dataset: Dataset) -> int:
    """Count the words of a dataset."""
    batches = dataset.with_format("arrow").iter(10_000)
    return sum(pc.sum(pc.list_value_length(batch["tokens"])).as_py() for batch in batches)


def describe(name: str, dataset: Dataset) -> str:
    """Describe a dataset in one line: sentences, words, and mentions per entity type."""
    line = f"{name}: {len(dataset):,} sentences, {word_count(dataset):,} words"
    if any(tags is not None for tags in dataset["tags"][:1]):
        counts = mention_counts(dataset)
        line += ", mentions: " + (", ".join(f"{entity} {count:,}" for entity, count in counts.items()) or "none")
    return line
