"""Corpora as rows that models read, and what models say of the rows as sentences again."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .alignment import ALIGNMENT_POLICY, make_windows, subwords, tokenizer_digest


def word_pieces(dataset: Dataset | Mapping, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The number of subwords that the tokenizer makes of each word, lower-cased, by sentence."""
    lowered = [[word.lower() for word in words] for words in dataset["tokens"]]
    return [np.diff([*starts, len(ids)]).tolist() for ids, starts in subwords(tokenizer, lowered)]


def encode_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    tags: Sequence[str],
    keep_tokens: bool = False,
    piece_tokenizer: PreTrainedTokenizerBase | None = None,
    by_length: bool = False,
) -> Dataset:
    """Tokenise a dataset with the columns `tokens` and `tags`, a row per window.

    Args:
        dataset: sentences; `tags` is None where they are not labelled.
        tokenizer: the student's.
        max_length: subwords per window, special tokens included.
        tags: the student's labels.
        keep_tokens: also give each row its whole sentence in `tokens`, for a live teacher with another tokenizer.
        piece_tokenizer: also count, in `pieces`, the subwords that this tokenizer makes of each word, lower-cased.
        by_length: put the longest first, so that an evaluation's batches need little padding.

    Returns:
        A dataset with the columns `input_ids`, `word_positions`, `first_word`, `sentence` (row in the given dataset),
        `length` (subwords) and `labels` (one a word; -100 in sentences without tags).

    Example:
        >>> tags = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
        >>> train, tokenizer = load_tsv("train.tsv", "IOBES"), AutoTokenizer.from_pretrained("my-org/biobert-genes")
        >>> rows = encode_dataset(train, tokenizer, 512, tags)
        >>> [tags[label] for label in rows[0]["labels"]] == train[0]["tags"]
        True
    """
    label_ids = {tag: index for index, tag in enumerate(tags)}

    def encode(batch: Mapping[str, list], indices: list[int]) -> dict[str, list]:
        rows = []
        pieces = word_pieces(batch, piece_tokenizer) if piece_tokenizer else None
        for row, windows in enumerate(make_windows(tokenizer, batch["tokens"], max_length)):
            for window in windows:
                words = slice(window.first_word, window.first_word + len(window.word_positions))
                tagged = batch["tags"][row]
                rows.append(
                    {
                        "input_ids": window.input_ids,
                        "word_positions": window.word_positions,
                        "first_word": window.first_word,
                        "sentence": indices[row],
                        "length": len(window.input_ids),
                        "labels": [label_ids[tag] for tag in tagged[words]]
                        if tagged is not None
                        else [-100] * len(window.word_positions),
                    }
                )
                if keep_tokens:
                    rows[-1]["tokens"] = batch["tokens"][row]
                if piece_tokenizer:
                    rows[-1]["pieces"] = pieces[row][words]
        return {name: [row[name] for row in rows] for name in rows[0]}

    # Named by what goes in: hashing the closure would take in the tokenizer's passing state.
    names = [tokenizer_digest(same) for same in (tokenizer, piece_tokenizer) if same]
    policy = f"{ALIGNMENT_POLICY} {dataset._fingerprint} {max_length} {list(tags)} {keep_tokens} {names}"
    encoded = dataset.map(
        encode,
        batched=True,
        with_indices=True,
        remove_columns=dataset.column_names,
        desc="Tokenising",
        new_fingerprint=hashlib.sha256(policy.encode()).hexdigest()[:16],
    )
    if by_length:
        encoded = encoded.select(np.argsort(-np.asarray(encoded["length"][:]), kind="stable"))
    return encoded


def window_order(windows: Dataset) -> np.ndarray:
    """The order that puts rows of `encode_dataset` back sentence by sentence."""
    return np.lexsort((windows["first_word"][:], windows["sentence"][:]))


def join_windows(values: np.ndarray, labels: np.ndarray, windows: Dataset) -> list[np.ndarray]:
    """Put the words of each sentence's windows together again.

    Args:
        values: [windows, words, ...], what to join.
        labels: [windows, words], -100 where there is no word.
        windows: their rows of `encode_dataset`, in any order.

    Returns:
        One array [words, ...] per sentence, in the order of the sentences.
    """
    order = window_order(windows)
    begins = np.flatnonzero(np.diff(np.asarray(windows["sentence"][:])[order], prepend=-1))
    parts = [values[row][labels[row] != -100] for row in order]
    return [np.concatenate(parts[first:last]) for first, last in zip(begins, [*begins[1:], len(parts)], strict=True)]
