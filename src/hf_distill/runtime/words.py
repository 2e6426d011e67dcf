"""Splitting text into words.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from .tags import UserError, config_place

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def _marks() -> str:
    """The combining marks of all scripts, as the inside of a regex's character class."""
    codes = [
        code for code in [*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0)] if unicodedata.category(chr(code))[0] == "M"
    ]
    starts = [codes[0], *(code for before, code in pairwise(codes) if code != before + 1)]
    ends = [*(before for before, code in pairwise(codes) if code != before + 1), codes[-1]]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


# Marks, and signs that join letters or part them without a blank: zero-width (non-)joiner, soft hyphen.
_MARKS = _marks() + "\u00ad\u200c\u200d"
# Scripts without blanks between words: Han, kana, Thai, Lao, Burmese, Khmer.
_NO_BLANKS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_LETTER = rf"(?:[^\W_]|[{_MARKS}])"
_OTHER_LETTER = rf"(?![{_NO_BLANKS}])[^\W_]"
# Any other character, with its marks; emoji that are joined, have a skin tone or make up a flag are one word.
_SIGN = (
    rf"[\U0001f1e6-\U0001f1ff]{{2}}|(?:[^\w\s]|_)"
    rf"(?:[{_MARKS.replace(chr(0x200D), '')}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d(?:[^\w\s{_MARKS}])?)*"
)
# What a word is. `demo/web/worker.js` has the same rules.
RULES = {
    # Every character of a script without blanks; else as `apart`.
    "characters": rf"[{_NO_BLANKS}][{_MARKS}]*|{_OTHER_LETTER}(?:{_OTHER_LETTER}|[{_MARKS}])*|{_SIGN}",
    # A run of letters and digits, or a single other sign.
    "apart": rf"[^\W_]{_LETTER}*|{_SIGN}",
    # The same, but punctuation between letters or digits is part of the word: U.S, O'Brien, well-known, 3,000.
    "within": rf"[^\W_]{_LETTER}*(?:(?:[^\w\s{_MARKS}]|_)+{_LETTER}+)*|{_SIGN}",
}
_PATTERNS = {rule: re.compile(pattern) for rule, pattern in RULES.items()}
_BEGINS_WITHOUT_BLANK = re.compile(f"[{_NO_BLANKS}]")
_ENDS_WITHOUT_BLANK = re.compile(f"[{_NO_BLANKS}][{_MARKS}]*$")
DEFAULT_RULE = "characters"  # of models that do not say what a word was to them
WORDS_THAT_FIT = 0.99
# Digests of the regexes that students carried before there were rules.
_OLD_PATTERNS = {
    "1ae3d6f94f54804b": "apart",
    "65661ac233d8770e": "apart",
    "ce5af2eeee29f7cf": "within",
    "b761ec968173edb8": "within",
}


def split_words(text: str, rule: str) -> list[tuple[int, int]]:
    """Return the character offsets (end exclusive) of the words of a text, in linear time.

    Args:
        text: any text.
        rule: what a word is, one of `RULES`.
    """
    return [match.span() for match in _PATTERNS[rule].finditer(text)]


def find_words(text: str, rule: str) -> list[str]:
    """Return the words of a text, as `split_words` does their places."""
    return _PATTERNS[rule].findall(text)


def word_rule(config: PretrainedConfig) -> str:
    """Return the rule by which a model splits text.

    Raises:
        UserError: the model's is not known. (A regular expression of a stranger is not run: it may never end.)
    """
    rule = getattr(config, "word_rule", None)
    pattern = getattr(config, "word_pattern", None)
    if rule is None and pattern is not None:
        rule = _OLD_PATTERNS.get(hashlib.sha256(str(pattern).encode()).hexdigest()[:16], pattern)
    rule = str(DEFAULT_RULE if rule is None else rule)
    if rule not in RULES:
        raise UserError(
            f"{config_place(config)}: splits text into words by {rule!r:.80}, which is none of {', '.join(RULES)}. "
            "Correct word_rule."
        )
    return rule


def join_words(words: Sequence[str]) -> str:
    """Return the text of a sentence: words joined by blanks, but not between characters of a script without blanks."""
    text = ""
    for word in words:
        apart = text and not (_BEGINS_WITHOUT_BLANK.match(word) and _ENDS_WITHOUT_BLANK.search(text[-8:]))
        text += f" {word}" if apart else word
    return text


def choose_rule(sentences: Iterable[Sequence[str]]) -> tuple[str, float]:
    """Choose the rule that splits running text into the words of a corpus.

    Of the rules that leave 99 % of the words whole it is the finest that also finds 99 % of them in running text
    (`join_words`). If there is none, the one that finds most.

    Returns:
        The rule, and the share of words that it finds in running text.
    """
    sentences = list(sentences)
    counts = Counter(word for words in sentences for word in words)
    # Without such scripts `characters` is `apart`.
    without_blanks = any(re.search(f"[{_NO_BLANKS}]", word) for word in counts)
    rules = [rule for rule in RULES if without_blanks or rule != "characters"]
    found = dict.fromkeys(rules, 0)
    for words in sentences:
        text = join_words(words)
        places = set()
        end = 0
        for word in words:
            start = text.index(word, end)
            end = start + len(word)
            places.add((start, end))
        for rule in rules:
            found[rule] += len(places.intersection(split_words(text, rule)))
    whole = {
        rule: sum(count for word, count in counts.items() if split_words(word, rule) == [(0, len(word))])
        for rule in rules
    }
    fitting = [rule for rule in rules if min(whole[rule], found[rule]) >= WORDS_THAT_FIT * counts.total()]
    rule = fitting[0] if fitting else max(rules, key=lambda rule: found[rule])
    return rule, found[rule] / max(1, counts.total())
