"""Alignment of words and subwords for any fast tokenizer.

A word is predicted once, at its first subword. A sentence that is too long for the model is split into overlapping
windows. Each word of an overlap is predicted in the window in which it is farther from the edge.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from .tags import UserError
from .word_features import FEATURES, KEPT_WORDS, word_features

if TYPE_CHECKING:
    import tokenizers
    from transformers import PretrainedConfig

# Part of the keys of stored teacher logits: increase the number when windows or word positions change.
ALIGNMENT_POLICY = "first-subword/overlap-quarter/1"
LONGEST_WINDOW = 512
BATCH_SUBWORDS = 4096  # subwords per inference batch, padding included
# Types of models whose position ids start after the id of the padding token, which is 1.
POSITIONS_AFTER_PADDING = tuple(
    "roberta xlm-roberta camembert longformer mpnet xlm-roberta-xl data2vec-text roberta-prelayernorm xmod ibert luke "
    "lilt layoutlmv3 markuplm esm".split()
)


class Tokenizer(Protocol):
    """What is needed of a fast tokenizer of transformers, or of another with the same parts."""

    @property
    def backend_tokenizer(self) -> tokenizers.Tokenizer: ...
    @property
    def pad_token_id(self) -> int: ...
    @property
    def unk_token_id(self) -> int | None: ...
    @property
    def model_max_length(self) -> int: ...
    def __len__(self) -> int: ...


_PIECES: WeakKeyDictionary[Tokenizer, tuple[int, dict[str, list[int]]]] = WeakKeyDictionary()


@dataclass
class Window:
    """A part of a sentence that fits into a model.

    Attributes:
        input_ids: subword ids, special tokens included.
        word_positions: position in `input_ids` of the first subword of each word that is predicted in this window.
        first_word: index in the sentence of the first of these words; they are consecutive.
        word_features: [subwords, 3], those of the word of each subword, 0 for special tokens; None if none were asked
            for.
    """

    input_ids: list[int]
    word_positions: list[int]
    first_word: int
    word_features: np.ndarray | None = None


def window_length(tokenizer: Tokenizer, config: PretrainedConfig, max_seq_length: int | None = None) -> int:
    """Return the subwords per window, special tokens included: `max_seq_length`, limited by tokenizer and model."""
    positions = getattr(config, "max_position_embeddings", None)
    if getattr(config, "bert_config", None):
        positions = config.bert_config.get("max_position_embeddings")
    if not positions or positions < 0:  # XLNet has no limit
        positions = LONGEST_WINDOW
    if config.model_type in POSITIONS_AFTER_PADDING:
        positions -= 2
    return min(max_seq_length or LONGEST_WINDOW, tokenizer.model_max_length, positions)


def _backend(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """The tokenizer of `tokenizers` behind one of transformers, which may have left it truncating or padding."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None:  # setting it unasked would disturb other threads
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return backend


def special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids of the special tokens that the tokenizer adds before and after a text."""
    encoded = _backend(tokenizer).encode(["a"], is_pretokenized=True)
    inside = [index for index, word in enumerate(encoded.word_ids) if word is not None]
    return encoded.ids[: inside[0]], encoded.ids[inside[-1] + 1 :]


def subwords(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield for each sentence its subword ids, without special tokens, and the index of each word's first subword.

    A word without subwords (zero-width or control characters) becomes the unknown token (or padding, without one).
    """
    # Pre-split words are tokenized independently of their context, so each distinct word is tokenized once.
    size, pieces = _PIECES.get(tokenizer, (0, {}))
    if size != len(tokenizer) or len(pieces) > KEPT_WORDS:
        pieces = {}
    new = [word for word in dict.fromkeys(word for words in sentences for word in words) if word not in pieces]
    if new:
        encoded = _backend(tokenizer).encode_batch_fast(
            [[word] for word in new], is_pretokenized=True, add_special_tokens=False
        )
        empty = tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
        pieces |= {word: each.ids or [empty] for word, each in zip(new, encoded, strict=True)}
        _PIECES[tokenizer] = len(tokenizer), pieces
    for words in sentences:
        own = [pieces[word] for word in words]
        yield list(chain.from_iterable(own)), list(accumulate(map(len, own), initial=0))[:-1]


def make_windows(
    tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], max_length: int, feature_rows: int = 0
) -> Iterator[list[Window]]:
    """Yield the windows of each sentence (a list of words), of at most `max_length` subwords with special tokens.

    With `feature_rows`, those of the model (`word_feature_rows`), they have `word_features`.

    Raises:
        UserError: there is no room for a subword.
    """
    before, after = special_tokens(tokenizer)
    room = max_length - len(before) - len(after)
    if room < 1:
        raise UserError(f"A window of {max_length} subwords has no room beside {len(before + after)} special tokens.")
    overlap = room // 4
    for words, (ids, starts) in zip(sentences, subwords(tokenizer, sentences), strict=True):
        features = None
        if feature_rows:
            features = np.array([word_features(word, feature_rows) for word in words], dtype=np.int64)
            features = features.reshape(-1, FEATURES).repeat(np.diff([*starts, len(ids)]), axis=0)
        cuts = [0]
        while cuts[-1] + room < len(ids):
            cuts.append(cuts[-1] + room - overlap)
        windows = []
        for number, cut in enumerate(cuts):
            # The first half of an overlap is predicted in the earlier window, the second half in the later one.
            low = cut + overlap // 2 if number else 0
            high = cuts[number + 1] + overlap // 2 if number + 1 < len(cuts) else len(ids)
            first, last = bisect_left(starts, low), bisect_left(starts, high)
            shift = len(before) - cut
            if last > first or not ids:
                windows.append(
                    Window(
                        input_ids=before + ids[cut : cut + room] + after,
                        word_positions=[start + shift for start in starts[first:last]],
                        first_word=first,
                        word_features=None
                        if features is None
                        else np.pad(features[cut : cut + room], ((len(before), len(after)), (0, 0))),
                    )
                )
        yield windows


def pad_windows(windows: Sequence[Window], pad_token_id: int, length: int = 0) -> dict[str, np.ndarray]:
    """Return the inputs of a model for a batch of windows (int64), padded to the longest or to a given `length`.

    They are `input_ids` and `attention_mask` [batch, subwords], and `word_features` [batch, subwords, 3] if the windows
    have them.
    """
    length = length or max(len(window.input_ids) for window in windows)
    inputs = {
        "input_ids": np.full((len(windows), length), pad_token_id),
        "attention_mask": np.zeros((len(windows), length), dtype=np.int64),
    }
    if windows[0].word_features is not None:
        inputs["word_features"] = np.zeros((len(windows), length, FEATURES), dtype=np.int64)
    for row, window in enumerate(windows):
        size = len(window.input_ids)
        inputs["input_ids"][row, :size] = window.input_ids
        inputs["attention_mask"][row, :size] = 1
        if window.word_features is not None:
            inputs["word_features"][row, :size] = window.word_features
    return inputs


def predict_windows(
    forward: Callable[..., np.ndarray],
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    num_labels: int,
    feature_rows: int = 0,
) -> list[np.ndarray]:
    """Return the word logits of each sentence, one array [words, labels] (fp32) per sentence, in the given order.

    Windows of similar length share a batch of at most BATCH_SUBWORDS subwords, padding included.

    Args:
        forward: computes logits [batch, subwords, labels] (fp32) from the inputs of `pad_windows`, by name.
        tokenizer: the model's tokenizer.
        sentences: lists of words.
        max_length: subwords per window, special tokens included.
        num_labels: number of labels of the model.
        feature_rows: as in `make_windows`.
    """
    split = make_windows(tokenizer, sentences, max_length, feature_rows)
    windows = [(number, window) for number, parts in enumerate(split) for window in parts if window.word_positions]
    logits = [np.empty((len(words), num_labels), dtype=np.float32) for words in sentences]
    order = sorted(range(len(windows)), key=lambda index: len(windows[index][1].input_ids))
    while order:
        longest = len(windows[order[-1]][1].input_ids)
        size = max(1, BATCH_SUBWORDS // longest)
        batch = [windows[index] for index in order[-size:]]
        del order[-size:]
        values = forward(**pad_windows([window for _, window in batch], tokenizer.pad_token_id))
        for row, (number, window) in enumerate(batch):
            words = slice(window.first_word, window.first_word + len(window.word_positions))
            logits[number][words] = values[row, window.word_positions]
    return logits
