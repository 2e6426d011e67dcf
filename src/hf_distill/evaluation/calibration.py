"""Scores of predicted mentions against what is right: calibration, its error, and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import beta

from ..runtime.confidence import TINY, Calibration, mention_probabilities
from ..runtime.tags import spans
from .metrics import Counts

BINS, DRAWS = 15, 200  # of equal mass, of the calibration error; and draws of what chance makes of it
TEMPERATURES = [round(2 ** (step / 3), 4) for step in range(-4, 10)]  # that are tried
CONFIDENCE, CANDIDATES = 0.95, 20  # of the precision that a threshold keeps, and how many thresholds are tried


@dataclass(frozen=True)
class ScoredMentions:
    """The predicted mentions of a corpus, one entry each, and how many there should be.

    Attributes:
        types: entity type.
        scores: score.
        right: whether it is a gold mention.
        gold: number of gold mentions by type.
    """

    types: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    gold: dict[str, int]

    def of_type(self, entity: str) -> "ScoredMentions":
        """Those of one type."""
        own = self.types == entity
        return ScoredMentions(self.types[own], self.scores[own], self.right[own], {entity: self.gold.get(entity, 0)})


def collect_mentions(
    predictions: Sequence[Sequence[str]], scores: Sequence[Sequence[float]], references: Sequence[Sequence[str]]
) -> ScoredMentions:
    """Compare the mentions of each sentence with the gold ones.

    Args:
        predictions: predicted tags.
        scores: the scores of each sentence's predicted mentions.
        references: gold tags.
    """
    types, right, gold = [], [], dict[str, int]()
    for predicted, reference in zip(predictions, references, strict=True):
        known = set(spans(reference))
        for entity, _, _ in known:
            gold[entity] = gold.get(entity, 0) + 1
        for mention in spans(predicted):
            types.append(mention[0])
            right.append(mention in known)
    flat = np.array([score for own in scores for score in own])
    return ScoredMentions(np.array(types, dtype=object), flat, np.array(right, dtype=bool), gold)


@dataclass(frozen=True)
class Calibrated:
    """How a model's scores fit what is right on a corpus.

    Attributes:
        calibration: what makes them fit.
        scores: of each sentence's predicted mentions.
        error: the expected calibration error, and that of scores that are right by construction (`calibration_error`);
            None where there are no predicted mentions.
    """

    calibration: Calibration
    scores: list[list[float]]
    error: tuple[float, float] | None


def calibrate(
    counts: Counts, references: Sequence[Sequence[str]], calibration: Calibration | None = None
) -> Calibrated:
    """Score a model's predictions, with a given calibration or the one that suits them best.

    The temperature, then the other parameters (`Calibration`), are those with the highest likelihood of which predicted
    mentions are right. Without a given calibration, the error is measured fairly: of each half of the sentences with a
    calibration fitted on the other half.

    Args:
        counts: its predictions.
        references: gold tags, in the scheme of its tags.
        calibration: that of the scores.
    """
    right = [
        np.array([mention in gold for mention in spans(predicted)], dtype=bool)
        for predicted, gold in zip(counts.predictions, (set(spans(tags)) for tags in references), strict=True)
    ]
    temperatures = [calibration.temperature] if calibration else TEMPERATURES
    mentions = {
        value: mention_probabilities(counts.logits, counts.labels, counts.tags, value) for value in temperatures
    }

    def fit(numbers: np.ndarray) -> Calibration:
        chosen = {value: [own[number] for number in numbers] for value, own in mentions.items()}
        return _fit(chosen, np.concatenate([np.empty(0, dtype=bool), *(right[number] for number in numbers)]))

    if calibration is None:
        halves = np.random.default_rng(0).permutation(len(right)) % 2
        by_other = [fit(np.flatnonzero(halves != half)) for half in (0, 1)]
        fair = [by_other[half] for half in halves]
        calibration = fit(np.arange(len(right)))
    else:
        fair = [calibration] * len(right)
    scores = [calibration.score(*own) for own in mentions[calibration.temperature]]
    fair_scores = [each.score(*mentions[each.temperature][number]) for number, each in enumerate(fair)]
    error = calibration_error(np.concatenate(fair_scores), np.concatenate(right))
    return Calibrated(calibration, [own.tolist() for own in scores], error)


def _fit(mentions: Mapping[float, Sequence[np.ndarray]], right: np.ndarray) -> Calibration:
    """Fit a calibration, given the probabilities and words of mentions by temperature, and whether they are right.

    Weak normal priors on the parameters, on their logarithms where they are positive, keep corpora within bounds on
    which all mentions are right, or none.
    """
    values = {each: np.concatenate([np.empty((2, 0)), *own], axis=1) for each, own in mentions.items()}

    def loss(calibration: Calibration) -> float:
        scores = calibration.score(*values[calibration.temperature])
        return -float(np.log(np.maximum(TINY, np.where(right, scores, 1 - scores))).sum())

    best = min(values, key=lambda temperature: loss(Calibration(temperature)) + np.log(temperature) ** 2 / 2)

    def make(parameters: np.ndarray) -> Calibration:
        a, b = np.exp(parameters[:2]).tolist()
        return Calibration(best, a, b, *parameters[2:].tolist())

    found = minimize(lambda each: loss(make(each)) + each @ each / 2, np.zeros(4), bounds=[(-3, 3)] * 4)
    return Calibration._make(round(value, 4) for value in make(found.x))


def calibration_error(scores: np.ndarray, right: np.ndarray) -> tuple[float, float] | None:
    """The expected calibration error (Naeini et al. 2015) of scored mentions, and what chance alone makes of it.

    It is the mean difference between score and precision, over BINS bins of equally many mentions of similar score.
    (A bootstrap interval would be wrong: resampling adds to the error.)

    Returns:
        The error, and its mean if mentions were right with exactly the probability of their score; None without any.
    """
    if not len(scores):
        return None
    order = np.argsort(scores, kind="stable")
    scores, right = scores[order], right[order]
    rng = np.random.default_rng(0)
    chance = [_binned_error(scores, rng.random(len(scores)) < scores) for _ in range(DRAWS)]
    return _binned_error(scores, right), float(np.mean(chance))


def _binned_error(scores: np.ndarray, right: np.ndarray) -> float:
    """The calibration error of sorted scores."""
    bounds = np.unique(np.linspace(0, len(scores), BINS + 1).astype(int)[:-1])
    return float(np.abs(np.add.reduceat(scores - right, bounds)).sum() / len(scores))


def choose_threshold(mentions: ScoredMentions, precision: float) -> float | None:
    """Choose the lowest score above which mentions have at least a certain precision, at 95 % confidence.

    Candidates are the scores that CANDIDATES equal shares of the mentions have. Of each the lower end of the
    Clopper-Pearson interval has to reach the precision, with the error probability shared out among the candidates
    (Bonferroni), because the best of many would often be so by chance.

    Returns:
        The score, 0 if all mentions together are good enough; None if no candidate is.
    """
    order = np.argsort(-mentions.scores, kind="stable")
    scores, right = mentions.scores[order], np.cumsum(mentions.right[order])
    chosen = None
    places = np.ceil(len(scores) * np.arange(1, CANDIDATES + 1) / CANDIDATES).astype(int)
    for place in np.unique(places[places > 0]):
        found = np.count_nonzero(scores >= scores[place - 1])
        known = right[found - 1]
        if known and beta.ppf((1 - CONFIDENCE) / CANDIDATES, known, found - known + 1) >= precision:
            chosen = float(scores[place - 1]) if found < len(scores) else 0.0
    return chosen
