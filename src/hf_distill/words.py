"""How running text is cut into words. A saved student carries this file along, for its pipeline."""

import re
from collections.abc import Iterable, Sequence

# Letters and digits in a row (with the accents that follow them) are a word, and so is every other character.
PUNCTUATION_APART = r"[^\W_]+(?:[\u0300-\u036f]+[^\W_]*)*|\S"
# As before, but what stands between letters or digits stays in the word: U.S, O'Brien, well-known, 3,000.
PUNCTUATION_WITHIN = r"[^\W_]+(?:(?:[^\w\s]|_)+[^\W_]+)*[\u0300-\u036f]*|\S"
WORDS_THAT_FIT = 0.99


def split_words(text: str, pattern: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end (last character + 1): what the regular expression `pattern` finds."""
    return [found.span() for found in re.finditer(pattern, text) if found.group()]


def choose_pattern(sentences: Iterable[Sequence[str]]) -> str:
    """The way of splitting that leaves the words of a corpus whole: `PUNCTUATION_APART`, unless more than one word in a
    hundred has punctuation in it.
    """
    whole = [re.fullmatch(PUNCTUATION_APART, word) is not None for words in sentences for word in words]
    return PUNCTUATION_APART if sum(whole) >= WORDS_THAT_FIT * len(whole) else PUNCTUATION_WITHIN
