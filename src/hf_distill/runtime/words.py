"""Splitting text into words.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

import re
from collections.abc import Iterable, Sequence

# Combining marks: Latin, Greek, Cyrillic; Hebrew; Arabic; Indic scripts; Thai, Lao; Burmese, Khmer.
_MARKS = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    r"\u06df-\u06ed\u0900-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b6-\u17d3"
)
_LETTER = rf"(?:[^\W_]|[{_MARKS}])"
# A word is a run of letters and digits, or any other single character except whitespace.
PUNCTUATION_APART = rf"[^\W_]{_LETTER}*|\S"
# The same, but punctuation between letters or digits is part of the word: U.S, O'Brien, well-known, 3,000.
PUNCTUATION_WITHIN = rf"[^\W_]{_LETTER}*(?:(?:[^\w\s{_MARKS}]|_)+{_LETTER}+)*|\S"
WORDS_THAT_FIT = 0.99


def split_words(text: str, pattern: str) -> list[tuple[int, int]]:
    """Return the character offsets (end exclusive) of the words of a text: the matches of the regex `pattern`."""
    return [match.span() for match in re.finditer(pattern, text) if match.group()]


def choose_pattern(sentences: Iterable[Sequence[str]]) -> tuple[str, float]:
    """Choose the word pattern that fits a corpus, and return it with the share of words that it does not split.

    `PUNCTUATION_APART`, unless it splits more than 1 % of the words; then `PUNCTUATION_WITHIN`.
    """
    words = [word for sentence in sentences for word in sentence]
    for pattern in (PUNCTUATION_APART, PUNCTUATION_WITHIN):
        whole = sum(re.fullmatch(pattern, word) is not None for word in words)
        if whole >= WORDS_THAT_FIT * len(words):
            break
    return pattern, whole / max(1, len(words))
