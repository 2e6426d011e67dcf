import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TAGS

from hf_distill.runtime.decoding import constrained_decode
from hf_distill.runtime.tags import OUTSIDE, can_follow, detect_scheme, find_invalid, make_tags

# Also such as heads have: classes that are no tags, two for one tag, and tags that no sequence reaches.
HEADS = [
    make_tags(["GENE"], "IOBES"),
    make_tags(["GENE"], "IOB2"),
    make_tags(["CHEMICAL", "GENE"], "IOBES"),
    make_tags(["CHEMICAL", "GENE"], "IOB2"),
    ["PAD", "I-GENE", "B-GENE", "O", "B-GENE", "X", "I-GENE", "I-CELL"],
    ["S-GENE", "E-CELL", "E-GENE", "[CLS]", "I-GENE", "S-CELL", "B-GENE", "O", "E-GENE"],
]


def brute_force(logits, tags):
    """The best valid sequence; of several that are equally good the one with the lowest label at the last word, then at
    the word before, and so on.
    """
    scheme = detect_scheme(tags)

    def is_valid(labels):
        names = [OUTSIDE, *(tags[label] for label in labels), OUTSIDE]
        return all(can_follow(previous, tag, scheme) for previous, tag in itertools.pairwise(names))

    every = [labels for labels in itertools.product(range(len(tags)), repeat=len(logits)) if is_valid(labels)]
    totals = [logits[range(len(labels)), labels].sum() for labels in every]
    return list(min((-total, labels[::-1]) for total, labels in zip(totals, every, strict=True))[1][::-1])


def test_constrained_decoding_by_hand():
    # Word by word the best tags are B-GENE O, which is no valid sequence. S-GENE O scores 4.5, B-GENE E-GENE 4.0.
    logits = np.array([[0.0, 3.0, 0.0, 0.0, 2.5], [2.0, 0.0, 0.0, 1.0, 0.0]])
    assert constrained_decode([logits], TAGS) == [[4, 0]]
    # With a better E-GENE, still not the second word's best, the long mention wins: 3.0 + 1.75.
    logits[1, 3] = 1.75
    assert constrained_decode([logits, logits[:1], logits[:0]], TAGS) == [[1, 3], [4], []]


@given(st.sampled_from(HEADS), st.lists(st.integers(1, 3), max_size=5), st.booleans(), st.integers(0, 2**32 - 1))
def test_constrained_decoding_finds_the_best_valid_sequence(tags, lengths, ties, seed):
    rng = np.random.default_rng(seed)
    draw = (lambda size: rng.integers(-1, 2, size)) if ties else (lambda size: rng.normal(size=size))
    logits = [draw((words, len(tags))).astype(np.float32) for words in lengths]
    assert constrained_decode(logits, tags) == [brute_force(scores, tags) for scores in logits]


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_constrained_decoding_of_long_sentences_is_valid(words, seed):
    tags = make_tags(["CHEMICAL", "GENE"], "IOBES")
    logits = np.random.default_rng(seed).integers(-2, 3, size=(words, len(tags)))  # with many ties
    [decoded] = constrained_decode([logits], tags)
    assert len(decoded) == words
    assert find_invalid([tags[label] for label in decoded], "IOBES") is None


@pytest.mark.parametrize("batch_words", [1, 50, 10_000])
def test_batches_do_not_matter(monkeypatch, batch_words):
    monkeypatch.setattr("hf_distill.runtime.decoding.BATCH_WORDS", batch_words)
    tags = make_tags(["CHEMICAL", "GENE"], "IOBES")
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(words, len(tags))) for words in rng.integers(0, 30, 60)]
    assert constrained_decode(logits, tags) == [constrained_decode([scores], tags)[0] for scores in logits]
