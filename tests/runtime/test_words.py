"""How running text is cut into words."""

import re

import pytest

from hf_distill.runtime.words import PUNCTUATION_APART, PUNCTUATION_WITHIN, choose_pattern, split_words


@pytest.mark.parametrize(
    ("text", "apart", "within"),
    [
        ("interleukin-2 (IL-2),", "interleukin - 2 ( IL - 2 ) ,", "interleukin-2 ( IL-2 ) ,"),
        ("O'Brien's U.S. 3,000", "O ' Brien ' s U . S . 3 , 000", "O'Brien's U.S . 3,000"),
        ("naïve nai\u0308ve α-actin_2", "naïve nai\u0308ve α - actin _ 2", "naïve nai\u0308ve α-actin_2"),
        ("癌の🧬\u200d", "癌の 🧬 \u200d", "癌の 🧬 \u200d"),
        ("हिन्दी-अमेरिका।", "हिन्दी - अमेरिका ।", "हिन्दी-अमेरिका ।"),
        ("محمَّد، น้ำ", "محمَّد ، น้ำ", "محمَّد ، น้ำ"),
        (" \n\t ", "", ""),
    ],
)
def test_words_by_hand(text, apart, within):
    for pattern, words in ((PUNCTUATION_APART, apart), (PUNCTUATION_WITHIN, within)):
        assert [text[start:end] for start, end in split_words(text, pattern)] == words.split(" ") * bool(words)


@pytest.mark.parametrize("pattern", [PUNCTUATION_APART, PUNCTUATION_WITHIN])
def test_words_of_many_accents_take_no_longer(pattern):
    """Steps that double with each accent would never come to an end."""
    text = "a" + "\u0300b\u0301" * 5000 + "-"
    assert [end for _, end in split_words(text, pattern)] == [len(text) - 1, len(text)]
    assert re.fullmatch(pattern, text) is None


def test_the_pattern_is_that_of_the_corpus():
    assert choose_pattern([["interleukin", "-", "2"], ["binds", "."]]) == (PUNCTUATION_APART, 1)
    assert choose_pattern([["interleukin-2"], ["binds", "."]]) == (PUNCTUATION_WITHIN, 1)
    assert choose_pattern([["word"] * 199 + ["IL-2"]]) == (PUNCTUATION_APART, 0.995), "one in two hundred is a slip"
    assert choose_pattern([["IL-2", "(p53)", "of", "."]]) == (PUNCTUATION_WITHIN, 0.75), "neither fits"
