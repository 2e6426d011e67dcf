"""How running text is cut into words. A saved student carries this file along, for its pipeline."""

import re
from collections.abc import Iterable, Sequence

# Accents and vowel signs: Latin, Greek, Cyrillic; Hebrew; Arabic; those of India; Thai, Lao; Burmese, Khmer.
_MARKS = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc"
    r"\u06df-\u06ed\u0900-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b6-\u17d3"
)
_LETTER = rf"(?:[^\W_]|[{_MARKS}])"
# Letters and digits in a row are a word, and so is every other character.
PUNCTUATION_APART = rf"[^\W_]{_LETTER}*|\S"
# As before, but what stands between letters or digits stays in the word: U.S, O'Brien, well-known, 3,000.
PUNCTUATION_WITHIN = rf"[^\W_]{_LETTER}*(?:(?:[^\w\s{_MARKS}]|_)+{_LETTER}+)*|\S"
WORDS_THAT_FIT = 0.99


def split_words(text: str, pattern: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end (last character + 1): what the regular expression `pattern` finds."""
    return [found.span() for found in re.finditer(pattern, text) if found.group()]


def choose_pattern(sentences: Iterable[Sequence[str]]) -> tuple[str, float]:
    """The way of splitting that leaves the words of a corpus whole, and the share of words that it does leave whole:
    `PUNCTUATION_APART`, unless more than one word in a hundred has punctuation in it.
    """
    words = [word for sentence in sentences for word in sentence]
    for pattern in (PUNCTUATION_APART, PUNCTUATION_WITHIN):
        whole = sum(re.fullmatch(pattern, word) is not None for word in words)
        if whole >= WORDS_THAT_FIT * len(words):
            break
    return pattern, whole / max(1, len(words))
