import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TAGS

from hf_distill.runtime.confidence import (
    Calibration,
    decode_mentions,
    expected_errors,
    mention_probabilities,
    read_calibration,
    read_threshold,
)
from hf_distill.runtime.tags import UserError, detect_scheme, find_invalid, make_tags, spans

HEADS = [make_tags(types, scheme) for types in (["GENE"], ["CELL", "GENE"]) for scheme in ("IOBES", "IOB2")]
TWO = make_tags(["CELL", "GENE"], "IOBES")


def enumerate_sequences(logits, tags, temperature):
    """Every valid sequence of label ids with its probability."""
    every = itertools.product(range(len(tags)), repeat=len(logits))
    valid = [path for path in every if find_invalid([tags[label] for label in path], detect_scheme(tags)) is None]
    weights = [math.exp(logits[range(len(path)), path].sum(dtype=np.float64) / temperature) for path in valid]
    return [(path, weight / sum(weights)) for path, weight in zip(valid, weights, strict=True)]


@given(st.sampled_from(HEADS), st.lists(st.integers(0, 4), max_size=3), st.floats(0.3, 4), st.integers(0, 2**32 - 1))
def test_probabilities_are_those_of_all_sequences(tags, lengths, temperature, seed):
    rng = np.random.default_rng(seed)
    logits = [rng.normal(0, 2, (words, len(tags))).astype(np.float32) for words in lengths]
    uncertain = expected_errors(logits, tags, Calibration(temperature))
    for index, scores in enumerate(logits):
        sequences = enumerate_sequences(scores, tags, temperature)
        chance = {}
        for path, probability in sequences:
            for mention in spans([tags[label] for label in path]):
                chance[mention] = chance.get(mention, 0.0) + probability
        [best], [certain] = decode_mentions([scores], tags, Calibration(temperature))
        begins = [0.0] * len(scores)
        for (_, first, _), probability in chance.items():
            begins[first] += probability
        outside = sum(each for each, label in zip(begins, best, strict=True) if tags[label] == "O")
        errors = outside + sum(1 - score for score in certain)
        assert uncertain[index] == pytest.approx(errors / max(1, len(scores)), abs=1e-9)
        path = sequences[rng.integers(len(sequences))][0]
        paths = [[0] * words for words in lengths]  # the other sentences have no mentions
        paths[index] = list(path)
        found = mention_probabilities(logits, paths, tags, temperature)
        mentions = spans([tags[label] for label in path])
        expected = [chance[mention] for mention in mentions]
        assert found[index][1].tolist() == [last - first for _, first, last in mentions]
        assert found[index][0].tolist() == pytest.approx(expected, abs=1e-12)
        assert sum(each.shape[1] for each in found) == len(expected)


def test_a_score_by_hand():
    # One word, O or S-GENE (B-, I- and E- cannot stand alone): 1 / (1 + e^-2) at temperature 1, 1 / (1 + e^-1) at 2.
    logits = [np.array([[0.0, 9.0, 9.0, 9.0, 2.0]])]
    for temperature in (1.0, 2.0):
        labels, [[score]] = decode_mentions(logits, TAGS, Calibration(temperature))
        assert labels == [[4]] and score == pytest.approx(1 / (1 + math.exp(-2 / temperature)))
    # Beta calibration: log(q / (1 - q)) = 2 log(p) - 0.5 log(1 - p) + 0.3 + 9 log(1).
    probability = 1 / (1 + math.exp(-2))
    _, [[score]] = decode_mentions(logits, TAGS, Calibration(1.0, 2.0, 0.5, 0.3, 9.0))
    expected = 2 * math.log(probability) - 0.5 * math.log(1 - probability) + 0.3
    assert math.log(score / (1 - score)) == pytest.approx(expected)


def test_batches_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 3, (words, len(TWO))).astype(np.float32) for words in rng.integers(0, 40, 50)]
    together = decode_mentions(logits, TWO)
    alone = [decode_mentions([scores], TWO) for scores in logits]
    assert together == ([labels for [labels], _ in alone], [scores for _, [scores] in alone])
    monkeypatch.setattr("hf_distill.runtime.decoding.BATCH_WORDS", 50)
    assert decode_mentions(logits, TWO) == together


@pytest.mark.filterwarnings("error")
def test_extreme_logits():
    # Each word insists on what the word before forbids; and one that is as good as certain.
    contradictory = np.array([[0, 0, 0, 0, 3e4], [0, 0, 3e4, 0, 0], [3e4, 0, 0, 0, 0]], dtype=np.float32)
    certain = np.array([[-1e4, -1e4, -1e4, -1e4, 1e4]], dtype=np.float32)
    _, [first, second] = decode_mentions([contradictory, certain], TAGS)
    assert all(0 <= score <= 1 for score in first) and second == [pytest.approx(1)]


def test_mentions_below_a_threshold_are_left_out():
    rng = np.random.default_rng(1)
    logits = [rng.normal(0, 2, (12, len(TWO))).astype(np.float32) for _ in range(30)]
    labels, scores = decode_mentions(logits, TWO)
    kept_labels, kept_scores = decode_mentions(logits, TWO, thresholds={"CELL": 0.4, "GENE": float("inf")})
    left = 0
    for before, own, after, kept in zip(labels, scores, kept_labels, kept_scores, strict=True):
        mentions = list(zip(spans([TWO[label] for label in before]), own, strict=True))
        expected = [(mention, score) for mention, score in mentions if mention[0] == "CELL" and score >= 0.4]
        assert list(zip(spans([TWO[label] for label in after]), kept, strict=True)) == expected
        assert find_invalid([TWO[label] for label in after], "IOBES") is None
        left += len(mentions) - len(expected)
    assert left > 50 and sum(map(len, kept_scores)) > 5


def config(**fields):
    return SimpleNamespace(_name_or_path="student", **fields)


def test_thresholds_of_all_kinds():
    kept = config(thresholds={"0.9": {"CELL": None, "GENE": 0.7}})
    assert read_threshold(None, kept, TWO) == {}
    assert read_threshold(0.5, kept, TWO) == {"CELL": 0.5, "GENE": 0.5}
    assert read_threshold({"GENE": 1}, kept, TWO) == {"CELL": 0.0, "GENE": 1.0}
    assert read_threshold("0.90", kept, TWO) == read_threshold("0.9", kept, TWO) == {"CELL": float("inf"), "GENE": 0.7}


@pytest.mark.parametrize(
    ("threshold", "fields", "message"),
    [
        ("0.95", {"thresholds": {"0.9": {}}}, r"'0\.95': the precisions that this model has thresholds for are '0\.9'"),
        ("0.95", {}, "--target_precision"),
        ("0.95", {"thresholds": [1]}, "--target_precision"),
        ({"DRUG": 0.5}, {}, "'DRUG' is no type of this model: CELL, GENE"),
        (1.5, {}, "from 0 to 1, not 1.5"),
        (float("nan"), {}, "from 0 to 1, not nan"),
        (True, {}, "from 0 to 1, not True"),
        ({"GENE": "0.5"}, {}, "from 0 to 1, not '0.5'"),
        ("x", {"thresholds": {"x": {"GENE": "high"}}}, "config.json: thresholds: 'x' is damaged"),
        ("0.9", {"thresholds": {"0.9": {"DRUG": 0.5}}}, "config.json: thresholds: '0.9' is damaged"),
        ("0.9", {"thresholds": {"0.9": None}}, "config.json: thresholds: '0.9' is damaged"),
        (float("inf"), {}, "from 0 to 1, not inf"),
    ],
)
def test_what_is_no_threshold(threshold, fields, message):
    with pytest.raises(UserError, match=message):
        read_threshold(threshold, config(**fields), TWO)


def test_what_is_no_calibration():
    good = {"temperature": 2, "a": 1.0, "b": 0.5, "c": -1.0, "d": 0.1}
    assert read_calibration(config(score_calibration=good)) == (2, 1, 0.5, -1, 0.1) and read_calibration(config()) == (
        1,
        1,
        1,
        0,
        0,
    )
    for bad in (
        [],
        {},
        good | {"e": 1},
        good | {"a": "1"},
        good | {"temperature": 0},
        good | {"b": -1},
        good | {"c": math.nan},
        good | {"a": 10**400},
        good | {"temperature": 1e-300},
    ):
        with pytest.raises(UserError, match="score_calibration"):
            read_calibration(config(score_calibration=bad))
