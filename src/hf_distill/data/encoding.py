"""Tokenisation of datasets into windows, and joining the predictions of windows into sentences."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..runtime.windows import ALIGNMENT_POLICY, make_windows, subwords


def word_pieces(dataset: Dataset | Mapping, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the number of subwords of each word, lower-cased, per sentence."""
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
    feature_rows: int = 0,
) -> Dataset:
    """Tokenise a dataset with the columns `tokens` and `tags` into one row per window.

    Args:
        dataset: sentences; `tags` is None for unlabelled sentences.
        tokenizer: the student's tokenizer.
        max_length: subwords per window, special tokens included.
        tags: the student's tags, in the order of their label ids.
        keep_tokens: add a column `tokens` with the whole sentence, for a live teacher with another tokenizer.
        piece_tokenizer: add a column `pieces` with this tokenizer's number of subwords of each word, lower-cased.
        by_length: sort by length, longest first, so that evaluation batches need little padding.
        feature_rows: `word_feature_rows` of the student's configuration; if it has any, add a column `word_features`
            (`Window.word_features` as bytes of 16-bit numbers).

    Returns:
        A dataset with the columns `input_ids`, `word_positions`, `first_word`, `sentence` (row in `dataset`), `length`
        (subwords) and `labels` (one per word; -100 in unlabelled sentences), whose feature names the tags:
        `List(ClassLabel(tags))`.

    Examples:
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
        for row, windows in enumerate(make_windows(tokenizer, batch["tokens"], max_length, feature_rows)):
            for window in windows:
                words = slice(window.first_word, window.first_word + len(window.word_positions))
                sentence_tags = batch["tags"][row]
                rows.append(
                    {
                        "input_ids": window.input_ids,
                        "word_positions": window.word_positions,
                        "first_word": window.first_word,
                        "sentence": indices[row],
                        "length": len(window.input_ids),
                        "labels": [label_ids[tag] for tag in sentence_tags[words]]
                        if sentence_tags is not None
                        else [-100] * len(window.word_positions),
                    }
                )
                if window.word_features is not None:
                    rows[-1]["word_features"] = window.word_features.astype(np.uint16).tobytes()
                if keep_tokens:
                    rows[-1]["tokens"] = batch["tokens"][row]
                if pieces is not None:
                    rows[-1]["pieces"] = pieces[row][words]
        return {name: [row[name] for row in rows] for name in rows[0]}

    features = {name: List(Value("int64")) for name in ("word_positions", *(["pieces"] if piece_tokenizer else []))}
    features |= {name: Value("int64") for name in ("first_word", "sentence", "length")}
    features |= {"input_ids": List(Value("int32")), "labels": List(ClassLabel(names=list(tags)))}
    if feature_rows:
        features["word_features"] = Value("binary")
    if keep_tokens:
        features["tokens"] = List(Value("string"))

    # An explicit fingerprint: `datasets` would hash the tokenizer's truncation and padding state, which varies.
    digests = [tokenizer_digest(each) for each in (tokenizer, piece_tokenizer) if each]
    options = f"{max_length} {list(tags)} {keep_tokens} {digests} {feature_rows}"
    policy = f"named labels {ALIGNMENT_POLICY} {dataset._fingerprint} {options}"
    encoded = dataset.map(
        encode,
        batched=True,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features(features),
        desc="Tokenising",
        new_fingerprint=hashlib.sha256(policy.encode()).hexdigest()[:16],
    )
    if by_length:
        encoded = encoded.select(np.argsort(-np.asarray(encoded["length"][:]), kind="stable"))
    return encoded


def window_order(windows: Dataset) -> np.ndarray:
    """Return the indices that sort rows of `encode_dataset` by sentence and first word."""
    return np.lexsort((windows["first_word"][:], windows["sentence"][:]))


def join_windows(
    values: np.ndarray | Sequence[np.ndarray], labels: np.ndarray | Sequence[np.ndarray], windows: Dataset
) -> list[np.ndarray]:
    """Join per-word values of windows into one array per sentence.

    Args:
        values: [windows, words, ...].
        labels: [windows, words], -100 for padding.
        windows: the rows of `encode_dataset` that `values` belongs to, in any order.

    Returns:
        One array [words, ...] per sentence, in the order of the sentences.
    """
    order = window_order(windows)
    begins = np.flatnonzero(np.diff(np.asarray(windows["sentence"][:])[order], prepend=-1))
    parts = [values[row][labels[row] != -100] for row in order]
    return [np.concatenate(parts[first:last]) for first, last in zip(begins, [*begins[1:], len(parts)], strict=True)]


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of a tokenizer, without its truncation and padding state, which earlier calls change."""
    content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def pad(rows: Sequence[Sequence] | Sequence[np.ndarray], value: float = 0, dtype: torch.dtype = torch.long) -> Tensor:
    """Pad rows on the right and stack them into a tensor. Row elements may be lists of equal length."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(np.asarray(row), dtype=dtype) for row in rows], batch_first=True, padding_value=value
    )
