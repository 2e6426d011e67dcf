import numpy as np
import pytest
from tiny import TAGS

from hf_distill.evaluation.metrics import EntityScores, decode, f1_difference, f1_intervals, score, token_f1


def logits_of(tags):
    """Word logits whose best tags are the given ones."""
    return np.eye(len(TAGS))[[TAGS.index(tag) for tag in tags]] * 5


def test_strict_entity_f1_by_hand():
    gold = [
        ["B-GENE", "E-GENE", "O", "S-CHEMICAL"],
        ["S-GENE", "O", "O"],
        ["B-GENE", "I-GENE", "E-GENE"],
    ]
    predicted = [
        ["S-GENE", "O", "O", "S-CHEMICAL"],  # half of the gene counts for nothing
        ["S-CHEMICAL", "O", "S-GENE"],  # the right words, the wrong type; and one too many
        ["B-GENE", "I-GENE", "E-GENE"],
    ]
    scores = EntityScores(keep_in_memory=True).compute(predictions=predicted, references=gold, scheme="IOBES")
    # 4 gold mentions, 5 predicted, 2 right; of genes 3, 3, 1; of chemicals 1, 2, 1.
    assert scores == pytest.approx(
        {
            "precision": 2 / 5,
            "recall": 2 / 4,
            "f1": 4 / 9,
            "GENE_precision": 1 / 3,
            "GENE_recall": 1 / 3,
            "GENE_f1": 1 / 3,
            "CHEMICAL_precision": 1 / 2,
            "CHEMICAL_recall": 1,
            "CHEMICAL_f1": 2 / 3,
        }
    )


def test_strict_entity_f1_in_iob2():
    gold = [["B-GENE", "I-GENE", "B-GENE", "O"], ["B-GENE", "O"]]
    # The first two mentions run into one; an I- without a B- is no mention.
    predicted = [["B-GENE", "I-GENE", "I-GENE", "O"], ["B-GENE", "O"]]
    metric = EntityScores(keep_in_memory=True)
    scores = metric.compute(predictions=predicted, references=gold, scheme="IOB2")
    assert (scores["precision"], scores["recall"]) == pytest.approx((1 / 2, 1 / 3))
    predicted = [["I-GENE", "I-GENE", "B-GENE", "O"], ["B-GENE", "O"]]
    scores = metric.compute(predictions=predicted, references=gold, scheme="IOB2")
    assert (scores["precision"], scores["recall"]) == pytest.approx((1, 2 / 3))


def test_token_f1_by_hand():
    gold = [["B-GENE", "E-GENE", "O"], ["S-GENE", "O"]]
    predicted = [["B-GENE", "E-GENE", "S-GENE"], ["O", "O"]]
    pieces = [[2, 1, 3], [1, 4]]
    # Right: 2 + 1 subwords; predicted 2 + 1 + 3; gold 2 + 1 + 1.
    assert token_f1(predicted, gold, pieces) == pytest.approx(2 * 3 / (6 + 4))


def test_token_f1_is_counted_in_iobes_whatever_the_scheme():
    gold, predicted = ["B-GENE", "I-GENE", "O", "B-GENE", "B-GENE"], ["B-GENE", "O", "O", "B-GENE", "B-GENE"]
    # In IOBES the first word is B-GENE in gold and S-GENE in the prediction: two right, three predicted, four gold.
    assert token_f1([predicted], [gold], [[1] * 5]) == pytest.approx(2 * 2 / (3 + 4))
    gold, predicted = ["B-GENE", "E-GENE", "O", "S-GENE", "S-GENE"], ["S-GENE", "O", "O", "S-GENE", "S-GENE"]
    assert token_f1([predicted], [gold], [[1] * 5]) == pytest.approx(2 * 2 / (3 + 4))


def test_decode():
    logits = np.array([[0.0, 3.0, 0.0, 0.0, 2.5], [2.0, 0.0, 0.0, 1.0, 0.0]])
    assert decode([logits], TAGS, constrained=False) == [["B-GENE", "O"]]
    assert decode([logits], TAGS) == [["S-GENE", "O"]]


def test_score_tells_constrained_from_argmax():
    gold = [["S-GENE", "O"], ["B-GENE", "E-GENE"]]
    # Best word by word: S-GENE E-GENE, which a stock pipeline reads as B-GENE I-GENE; best valid: S-GENE O.
    first = np.array([[0.0, 0.0, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 1.2, 0.0]])
    scores = score([first, logits_of(gold[1])], gold, TAGS, pieces=[[1, 2], [3, 1]])
    assert scores["f1"] == scores["precision"] == scores["recall"] == scores["GENE_f1"] == scores["token_f1"] == 1
    assert scores["f1_argmax"] == 0.5


def test_a_corpus_without_mentions_scores_zero():
    scores = score([logits_of(["O", "O"])], [["O", "O"]], TAGS, pieces=[[1, 1]])
    assert scores["f1"] == scores["f1_argmax"] == scores["token_f1"] == 0
    scores = score([logits_of(["O", "S-GENE"])], [["O", "O"]], TAGS, pieces=[[1, 1]])
    assert scores["f1"] == scores["precision"] == scores["token_f1"] == 0


def test_intervals_by_hand():
    gold = [["S-GENE", "O"], ["B-GENE", "E-GENE"]]
    predicted = [["S-GENE", "O"], ["S-GENE", "O"]]
    low_high = f1_intervals([logits_of(tags) for tags in predicted], gold, TAGS, pieces=[[1, 1], [2, 3]])
    # Two sentences drawn out of two: in a quarter of the draws each both are right, and none is.
    assert {name: value for name, value in low_high.items() if name.startswith(("f1_l", "f1_h", "GENE"))} == {
        "f1_low": 0,
        "f1_high": 1,
        "GENE_f1_low": 0,
        "GENE_f1_high": 1,
    }
    assert (low_high["token_f1_low"], low_high["token_f1_high"]) == (0, 1)
    all_right = f1_intervals([logits_of(tags) for tags in gold * 9], gold * 9, TAGS, pieces=[[1, 1], [2, 3]] * 9)
    assert set(all_right.values()) == {1}
    one = f1_intervals([logits_of(gold[0])], gold[:1], TAGS)
    assert (one["f1_low"], one["f1_high"]) == (0, 1), "one sentence says nothing about others"


def test_intervals_surround_what_they_are_about():
    gold = [["B-GENE", "E-GENE", "S-CHEMICAL"]] * 300
    tags = [*TAGS, "B-CHEMICAL", "I-CHEMICAL", "E-CHEMICAL", "S-CHEMICAL"]
    # Genes are right in two sentences of three, chemicals in all.
    spoilt = ["S-GENE", "O", "S-CHEMICAL"]
    predicted = [spoilt if number % 3 else gold[0] for number in range(300)]
    logits = [np.eye(len(tags))[[tags.index(tag) for tag in each]] for each in predicted]
    scores = score(logits, gold, tags, [[1, 2, 1]] * 300) | f1_intervals(logits, gold, tags, [[1, 2, 1]] * 300)
    for name in ("f1", "GENE_f1", "f1_argmax", "token_f1"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    # Of n right genes in 300 the standard error of n / 300 is 0.027.
    assert scores["GENE_f1_high"] - scores["GENE_f1_low"] == pytest.approx(4 * 0.027, abs=0.01)
    assert scores["CHEMICAL_f1_low"] == scores["CHEMICAL_f1_high"] == 1


def test_difference_is_paired():
    gold = [["S-GENE", "O"]] * 200
    good = [["S-GENE", "O"] if number % 2 else ["O", "O"] for number in range(200)]
    better = [["S-GENE", "O"] if number % 2 or number < 40 else ["O", "O"] for number in range(200)]
    assert f1_difference(good, good, gold) == (0, 0, 0)
    # Right in 100 and in 120 sentences of 200, with recall alone at stake: 2 * 120 / 320 - 2 * 100 / 300.
    difference = f1_difference(better, good, gold)
    assert difference.value == pytest.approx(0.75 - 2 / 3)
    assert 0 < difference.low < difference.value < difference.high < 0.15
    one = f1_difference(good[:1], better[:1], gold[:1])
    assert (one.low, one.value, one.high) == (-1, -1, 1), "one sentence says nothing about others"
    reverse = f1_difference(good, better, gold)
    assert (reverse.low, reverse.high) == pytest.approx((-difference.high, -difference.low))
