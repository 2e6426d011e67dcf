"""How a word is written: its shape, its beginning and its end, as rows of an embedding table (docs/runtime.md).

A lower-casing tokenizer hides that, and a subword does not know the rest of its word. As in spaCy, the features are
hashed, so that they need no vocabulary.

This file is copied next to a saved model as remote code: it must import neither torch nor transformers.
"""

import re
from functools import lru_cache
from typing import Any
from zlib import crc32

from .tags import UserError, config_place

FEATURES = 3
AFFIX = 3  # characters of a word's beginning and of its end
MOST_ROWS = 20_000  # for each feature: numbers of rows fit into 16 bits
KEPT_WORDS = 100_000


def word_feature_rows(config: Any) -> int:
    """Return the number of rows for each feature that a model has embeddings of; 0: it reads no features.

    Raises:
        UserError: its configuration gives no such number.
    """
    rows = getattr(config, "word_feature_rows", 0)
    if isinstance(rows, bool) or not isinstance(rows, int) or not 0 <= rows <= MOST_ROWS:
        raise UserError(
            f"{config_place(config)}: word_feature_rows of a student is a number from 0 to {MOST_ROWS:,}, not "
            f"{rows!r:.80}."
        )
    return rows


def word_shape(word: str) -> str:
    """Return a word with `X` for each capital letter, `x` for any other, `d` for each digit, and of the same character
    at most three in a row.

    Examples:
        >>> word_shape("p53-Kinase")
        'xdd-Xxxx'
    """
    kinds = (
        "d" if letter.isdecimal() else "X" if letter.isupper() else "x" if letter.isalpha() else letter
        for letter in word
    )
    return re.sub(r"(.)\1{3,}", r"\1\1\1", "".join(kinds), flags=re.DOTALL)


@lru_cache(KEPT_WORDS)
def word_features(word: str, rows: int) -> tuple[int, ...]:
    """Return a row for each of the three features of a word, from 1 to 3 * `rows`; row 0 belongs to no word."""
    parts = (word_shape(word), word[:AFFIX], word[-AFFIX:])
    return tuple(1 + number * rows + crc32(part.encode()) % rows for number, part in enumerate(parts))
