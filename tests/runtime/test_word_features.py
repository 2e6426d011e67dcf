from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
import tiny

from hf_distill.runtime.tags import UserError
from hf_distill.runtime.windows import make_windows, pad_windows, subwords
from hf_distill.runtime.word_features import MOST_ROWS, word_feature_rows, word_features, word_shape


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("p53", "xdd"),
        ("IL-2Rα", "XX-dXx"),
        ("kinases", "xxx"),
        ("NF-kappaB", "XX-xxxX"),
        ("ABCD", "XXX"),
        ("1999", "ddd"),
        ("-----", "---"),
        ("Белок", "Xxxx"),
        ("癌٣", "xd"),
        ("", ""),
    ],
)
def test_shapes(word, shape):
    assert word_shape(word) == shape


def test_features_are_rows_of_their_own_third():
    ends = crc32("M2β".encode())
    assert word_features("MDM2β", 7) == (1 + crc32(b"XXXdx") % 7, 8 + crc32(b"MDM") % 7, 15 + ends % 7)
    assert word_features("p5", 7) == (1 + crc32(b"xd") % 7, 8 + crc32(b"p5") % 7, 15 + crc32(b"p5") % 7)
    for word in ("", "a", "é", "𝒫", "\x00"):
        rows = word_features(word, 5)
        assert [(row - 1) // 5 for row in rows] == [0, 1, 2]


def test_each_subword_has_the_features_of_its_word():
    """Also where windows cut a word, and beside special tokens and padding, which have none."""
    tokenizer, words = tiny.wordpiece(), ["the", "x" * 20, "MDM2", "p53"] * 10
    [(ids, starts)] = subwords(tokenizer, [words])
    owner = np.searchsorted(starts, np.arange(len(ids)), side="right") - 1
    own = [list(word_features(words[index], 30)) for index in owner]
    [windows] = make_windows(tokenizer, [words], 64, 30)
    assert len(windows) > 3
    for window in windows:
        features = window.word_features.tolist()
        assert len(features) == len(window.input_ids)
        assert features[0] == features[-1] == [0, 0, 0]
        first = starts[window.first_word] - window.word_positions[0] + 1
        assert features[1:-1] == own[first : first + len(features) - 2]
    padded = pad_windows(windows, 0, 70)["word_features"]
    assert padded.shape == (len(windows), 70, 3) and not padded[:, 64:].any()
    [plain] = make_windows(tokenizer, [words], 64)
    assert [window.input_ids for window in plain] == [window.input_ids for window in windows]
    assert "word_features" not in pad_windows(plain, 0)
    assert [window.word_features.tolist() for [window] in make_windows(tokenizer, [[]], 64, 30)] == [[[0] * 3] * 2]


@pytest.mark.parametrize("rows", [-1, MOST_ROWS + 1, "7", 1.5, None, [3]])
def test_a_strange_number_of_rows_is_refused(rows):
    with pytest.raises(UserError, match="from 0 to 20,000, not"):
        word_feature_rows(SimpleNamespace(word_feature_rows=rows))
