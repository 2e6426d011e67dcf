import numpy as np
import pytest
from scipy.stats import beta
from tiny import TAGS

from hf_distill.evaluation.calibration import (
    ScoredMentions,
    calibrate,
    calibration_error,
    choose_threshold,
    collect_mentions,
)
from hf_distill.evaluation.metrics import count
from hf_distill.runtime.confidence import mention_probabilities


def test_mentions_are_collected_by_type():
    predictions = [["S-GENE", "O", "B-CELL", "E-CELL"], ["O", "S-CELL"]]
    gold = [["S-GENE", "O", "O", "S-CELL"], ["S-CELL", "S-CELL"]]
    mentions = collect_mentions(predictions, [[0.9, 0.4], [0.7]], gold)
    assert mentions.types.tolist() == ["GENE", "CELL", "CELL"] and mentions.right.tolist() == [True, False, True]
    assert mentions.scores.tolist() == [0.9, 0.4, 0.7] and mentions.gold == {"GENE": 1, "CELL": 3}
    cells = mentions.of_type("CELL")
    assert cells.scores.tolist() == [0.4, 0.7] and cells.gold == {"CELL": 3}
    assert len(mentions.of_type("DRUG").scores) == 0


def test_the_calibration_error_by_hand():
    # 15 bins of two mentions: one right of two where the score says 0.75, in all bins but the last, which is right.
    scores = np.array([0.7, 0.8] * 14 + [1.0, 1.0])
    scores[:28] = np.sort(scores[:28])
    right = np.array([True, False] * 14 + [True, True])
    value, by_chance = calibration_error(scores, right)
    assert value == pytest.approx((7 * 0.2 + 7 * 0.3) / 15) and 0 < by_chance < 0.4
    assert calibration_error(np.empty(0), np.empty(0, dtype=bool)) is None
    value, by_chance = calibration_error(np.array([0.25]), np.array([True]))
    assert value == pytest.approx(0.75) and by_chance == pytest.approx(0.375, abs=0.1), "2 * 0.25 * 0.75"


def random_corpus(temperature, sentences=1500, seed=0):
    """Sentences of a word, whose gold tags follow a model's distribution at a temperature."""
    rng = np.random.default_rng(seed)
    logits = [rng.normal(0, 4, (1, len(TAGS))).astype(np.float32) for _ in range(sentences)]
    chances = np.concatenate(mention_probabilities(logits, [[4]] * sentences, TAGS, temperature), axis=1)[0]
    gold = [["S-GENE"] if rng.random() < chance else ["O"] for chance in chances]
    return count(logits, gold, TAGS), gold


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_of_the_data_is_found_again(temperature):
    counts, gold = random_corpus(temperature)
    found = calibrate(counts, gold)
    mentions = collect_mentions(counts.predictions, found.scores, gold)
    truth = np.concatenate(mention_probabilities(counts.logits, counts.labels, TAGS, temperature), axis=1)[0]
    assert found.calibration.temperature == pytest.approx(temperature, rel=0.2)
    assert np.abs(mentions.scores - truth).mean() < 0.02, found.calibration
    uncalibrated = np.concatenate(mention_probabilities(counts.logits, counts.labels, TAGS), axis=1)[0]
    assert found.error[0] < calibration_error(uncalibrated, mentions.right)[0]
    # With a given calibration, nothing is fitted.
    again = calibrate(counts, gold, found.calibration)
    assert again.scores == found.scores and again.calibration == found.calibration


@pytest.mark.parametrize("right", [True, False])
def test_corpora_on_which_all_mentions_are_right_or_none(right):
    logits = [np.array([[0, 0, 0, 0, 2.0]], dtype=np.float32)] * 3
    gold = [["S-GENE" if right else "O"]] * 3
    found = calibrate(count(logits, gold, TAGS), gold)
    assert all(0 < score < 1 for [score] in found.scores) and (found.scores[0][0] > 0.5) == right


def test_a_corpus_without_predictions():
    logits, gold = [np.array([[9.0, 0, 0, 0, 0]], dtype=np.float32)], [["S-GENE"]]
    found = calibrate(count(logits, gold, TAGS), gold)
    assert found.scores == [[]] and found.error is None and found.calibration == (1, 1, 1, 0, 0)


def test_the_lowest_threshold_that_keeps_its_promise_is_chosen():
    scores = np.linspace(1, 0.001, 1000)
    right = np.ones(1000, dtype=bool)
    right[500::2] = False  # precision 1 down to the 500th, then falling
    mentions = ScoredMentions(np.array(["GENE"] * 1000, dtype=object), scores, right, {"GENE": 800})
    chosen = choose_threshold(mentions, 0.9)
    kept = np.count_nonzero(scores >= chosen)
    assert kept % 50 == 0  # one of 20 candidates

    def bound(found):
        known = int(right[:found].sum())
        return beta.ppf(0.05 / 20, known, found - known + 1)

    assert bound(kept) >= 0.9 > bound(kept + 50)
    assert choose_threshold(mentions, 0.999) is None
    assert choose_threshold(mentions, 0.5) == 0.0, "all together are good enough"
    assert choose_threshold(mentions.of_type("CELL"), 0.5) is None


def test_promises_are_kept_on_other_data():
    """Where no score is good enough, luck does not make a threshold of one; where some are, they keep the promise."""
    rng = np.random.default_rng(0)
    broken = made = hopeless = 0
    for _ in range(200):
        scores = rng.random(1000)
        mentions = ScoredMentions(
            np.array(["GENE"] * 1000, dtype=object), scores, rng.random(1000) < scores, {"GENE": 1000}
        )
        chosen = choose_threshold(mentions, 0.8)
        made += chosen is not None
        broken += chosen is not None and (1 + chosen) / 2 < 0.8  # the true precision of what is kept
        never = ScoredMentions(mentions.types, scores, rng.random(1000) < 0.799, {"GENE": 1000})
        hopeless += choose_threshold(never, 0.8) is not None
    assert made > 190 and broken <= 10 and hopeless <= 10
