import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import f1_score
from tiny import TAGS

from hf_distill.evaluation.metrics import RESAMPLES, EntityScores, count, f1_difference
from hf_distill.runtime.decoding import constrained_decode
from hf_distill.runtime.tags import convert_tags, iob2_names, make_tags


def logits_of(tags):
    """Word logits whose best tags are the given ones."""
    return np.eye(len(TAGS))[[TAGS.index(tag) for tag in tags]] * 5


def count_tags(predicted, gold, pieces=None):
    """The counts of predicted tags."""
    return count([logits_of(tags) for tags in predicted], gold, TAGS, pieces)


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
    assert count_tags(predicted, gold, pieces).scores()["token_f1"] == pytest.approx(2 * 3 / (6 + 4))


def test_token_f1_is_counted_in_iobes_whatever_the_scheme():
    # In IOBES the first word is B-GENE in gold and S-GENE in the prediction: two right, three predicted, four gold.
    for tags, gold, predicted in (
        (TAGS[:3], ["B-GENE", "I-GENE", "O", "B-GENE", "B-GENE"], ["B-GENE", "O", "O", "B-GENE", "B-GENE"]),
        (TAGS, ["B-GENE", "E-GENE", "O", "S-GENE", "S-GENE"], ["S-GENE", "O", "O", "S-GENE", "S-GENE"]),
    ):
        logits = logits_of(predicted)[:, : len(tags)]
        assert count([logits], [gold], tags, [[1] * 5]).scores()["token_f1"] == pytest.approx(2 * 2 / (3 + 4))


def test_score_tells_constrained_from_argmax():
    gold = [["S-GENE", "O"], ["B-GENE", "E-GENE"]]
    # Best word by word: S-GENE E-GENE, which a stock pipeline reads as B-GENE I-GENE; best valid: S-GENE O.
    first = np.array([[0.0, 0.0, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 1.2, 0.0]])
    counts = count([first, logits_of(gold[1])], gold, TAGS, pieces=[[1, 2], [3, 1]])
    assert counts.predictions == gold
    scores = counts.scores()
    assert scores["f1"] == scores["precision"] == scores["recall"] == scores["GENE_f1"] == scores["token_f1"] == 1
    assert scores["f1_argmax"] == 0.5


def test_a_corpus_without_mentions_scores_zero():
    scores = count_tags([["O", "O"]], [["O", "O"]], [[1, 1]]).scores()
    assert scores == {"f1": 0, "precision": 0, "recall": 0, "f1_argmax": 0, "token_f1": 0}
    scores = count_tags([["O", "S-GENE"]], [["O", "O"]], [[1, 1]]).scores()
    assert scores["f1"] == scores["precision"] == scores["token_f1"] == scores["GENE_recall"] == 0


@pytest.mark.parametrize("scheme", ["IOB2", "IOBES"])
def test_scores_are_those_of_seqeval_and_scikit_learn(scheme):
    tags = make_tags(["CELL", "DRUG", "GENE", "VIRUS"], scheme)[:-1]
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(words, len(tags))) for words in rng.integers(1, 12, 200)]
    nearly = [scores + rng.normal(scale=0.7, size=scores.shape) for scores in logits]
    gold = [[tags[label] for label in labels] for labels in constrained_decode(nearly, tags)]
    pieces = [rng.integers(1, 5, len(sequence)).tolist() for sequence in gold]
    counts = count(logits, gold, tags, pieces)
    scores = counts.scores()
    metric = EntityScores(keep_in_memory=True)
    strict = metric.compute(predictions=counts.predictions, references=gold, scheme=scheme)
    names = list(iob2_names(tags).values())
    argmax = [[names[label] for label in each.argmax(-1)] for each in logits]
    iob2 = [convert_tags(sequence, "IOB2") for sequence in gold]
    strict["f1_argmax"] = metric.compute(predictions=argmax, references=iob2, scheme=None)["f1"]
    words = [
        [tag for sequence in side for tag in convert_tags(sequence, "IOBES")] for side in (gold, counts.predictions)
    ]
    strict["token_f1"] = f1_score(
        *words, labels=sorted({*words[0], *words[1]} - {"O"}), average="micro", sample_weight=np.concatenate(pieces)
    )
    assert scores == pytest.approx(strict)
    assert 0.1 < scores["f1"] < 0.9 and scores["f1_argmax"] < scores["f1"]


def test_intervals_by_hand():
    gold = [["S-GENE", "O"], ["B-GENE", "E-GENE"]]
    predicted = [["S-GENE", "O"], ["S-GENE", "O"]]
    low_high = count_tags(predicted, gold, [[1, 1], [2, 3]]).intervals()
    # Two sentences drawn out of two: in a quarter of the draws each both are right, and none is.
    assert {name: value for name, value in low_high.items() if name.startswith(("f1_l", "f1_h", "GENE"))} == {
        "f1_low": 0,
        "f1_high": 1,
        "GENE_f1_low": 0,
        "GENE_f1_high": 1,
    }
    assert (low_high["token_f1_low"], low_high["token_f1_high"]) == (0, 1)
    all_right = count_tags(gold * 9, gold * 9, [[1, 1], [2, 3]] * 9).intervals()
    assert set(all_right.values()) == {1}
    one = count_tags(gold[:1], gold[:1]).intervals()
    assert (one["f1_low"], one["f1_high"]) == (0, 1), "one sentence says nothing about others"


def test_intervals_are_those_of_scipy():
    rng = np.random.default_rng(3)
    gold = [["S-GENE" if word else "O" for word in words] for words in rng.integers(0, 2, (150, 4))]
    predicted = [["S-GENE" if word else "O" for word in words] for words in rng.integers(0, 2, (150, 4))]
    counts = count_tags(predicted, gold)

    def f1(right, found, gold, axis):
        return 2 * right.sum(axis) / (found.sum(axis) + gold.sum(axis))

    table = tuple(counts.counts["f1"])
    expected = bootstrap(table, f1, paired=True, n_resamples=RESAMPLES, batch=100, method="percentile", rng=0)
    intervals = counts.intervals()
    assert (intervals["f1_low"], intervals["f1_high"]) == pytest.approx(tuple(expected.confidence_interval))


def test_intervals_surround_what_they_are_about():
    gold = [["B-GENE", "E-GENE", "S-CHEMICAL"]] * 300
    tags = [*TAGS, "B-CHEMICAL", "I-CHEMICAL", "E-CHEMICAL", "S-CHEMICAL"]
    # Genes are right in two sentences of three, chemicals in all.
    spoilt = ["S-GENE", "O", "S-CHEMICAL"]
    predicted = [spoilt if number % 3 else gold[0] for number in range(300)]
    logits = [np.eye(len(tags))[[tags.index(tag) for tag in each]] for each in predicted]
    counts = count(logits, gold, tags, [[1, 2, 1]] * 300)
    scores = counts.scores() | counts.intervals()
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
