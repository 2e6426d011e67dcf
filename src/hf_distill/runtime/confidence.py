"""How sure a model is: probabilities of mentions, by the forward-backward algorithm, and thresholds on them.

The logits, divided by a temperature, are the scores of a distribution over the valid tag sequences (as of a
linear-chain conditional random field whose only transitions are what the scheme allows). Valid sequences correspond
one to one to sets of mentions, so that a mention has the probability that exactly it stands there.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .decoding import Batch, Transitions, constrained_decode, find_transitions, make_batches
from .tags import OUTSIDE, UserError, config_place, entity_types, spans

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TINY = 1e-12  # probabilities count as at least so great
LARGEST = 1000  # number of a calibration
Threshold = float | str | Mapping[str, float] | None


class Calibration(NamedTuple):
    """What makes probabilities fit how often a model is right; `config.score_calibration` of a student.

    A mention of n words whose probability is p gets the score q with log(q / (1 - q)) = a log(p) - b log(1 - p) + c +
    d log(n), by default p itself: beta calibration (Kull et al. 2017), and a term for what the model does not know:
    errors at the words of a mention go together.

    Attributes:
        temperature: by which logits are divided.
        a: at least 0.
        b: at least 0.
        c: any number.
        d: any number.
    """

    temperature: float = 1.0
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    d: float = 0.0

    def score(self, probabilities: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Return the scores of mentions by their probabilities and numbers of words."""
        yes, no = np.log(np.maximum(probabilities, TINY)), np.log(np.maximum(1 - probabilities, TINY))
        log_odds = self.a * yes - self.b * no + self.c + self.d * np.log(words)
        return 0.5 + 0.5 * np.tanh(log_odds / 2)  # the logistic function


UNCALIBRATED = Calibration()


def decode_mentions(
    logits: Sequence[np.ndarray],
    tags: Sequence[str],
    calibration: Calibration = UNCALIBRATED,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """Decode the most probable valid tag sequence of each sentence, and score its mentions.

    Args:
        logits: one array [words, labels] per sentence.
        tags: the tag of each label id.
        calibration: the model's (`read_calibration`).
        thresholds: by entity type the score below which its mentions are left out: their words become O.

    Returns:
        One list of label ids per sentence, and the scores of the mentions in it.
    """
    decoded = constrained_decode(logits, tags)
    found = mention_probabilities(logits, decoded, tags, calibration.temperature)
    scores = [calibration.score(*own).tolist() for own in found]
    if thresholds:
        outside = list(tags).index(OUTSIDE)
        for labels, own in zip(decoded, scores, strict=True):
            mentions = list(zip(spans([tags[label] for label in labels]), own, strict=True))
            own.clear()
            for (entity, first, last), score in mentions:
                if score >= thresholds[entity]:
                    own.append(score)
                else:
                    labels[first:last] = [outside] * (last - first)
    return decoded, scores


def read_calibration(config: PretrainedConfig) -> Calibration:
    """Return `config.score_calibration`, an object of the fields of `Calibration`; without one nothing is calibrated.

    Raises:
        UserError: it is something else.
    """
    values = getattr(config, "score_calibration", None)
    if values is None:
        return UNCALIBRATED
    names = Calibration._fields
    if not isinstance(values, dict) or set(values) != set(names) or not all(map(_is_number, values.values())):
        raise UserError(
            f"{config_place(config)}: score_calibration has the numbers {', '.join(names)}: {values!r:.80}."
        )
    if not all(abs(value) <= LARGEST for value in values.values()) or min(values["a"], values["b"]) < 0:
        raise UserError(f"{config_place(config)}: score_calibration is out of range: {values!r:.80}.")
    found = Calibration(**{name: float(values[name]) for name in names})
    if found.temperature < 1 / LARGEST:
        raise UserError(f"{config_place(config)}: score_calibration: the temperature is too low: {found.temperature}.")
    return found


def read_threshold(threshold: Threshold, config: PretrainedConfig, tags: Sequence[str]) -> dict[str, float]:
    """Return for each entity type the score below which its mentions are left out; empty if none are.

    Args:
        threshold: None; a score for all types; scores by type (other types have none); or the name of one of
            `config.thresholds`, a precision such as "0.95". A type for which no score keeps that precision (null there)
            is left out altogether.
        config: the model's configuration.
        tags: its tags.

    Raises:
        UserError: there is no such threshold, type or score.
    """
    types = entity_types(tags)
    by_type: Any = threshold
    if threshold is None:
        return {}
    if isinstance(threshold, str):
        by_type = _kept_threshold(threshold, config, types)
    elif not isinstance(threshold, Mapping):
        by_type = dict.fromkeys(types, threshold)
    for entity, score in by_type.items():
        if entity not in types:
            raise UserError(f"threshold: {entity!r:.80} is no type of this model: {', '.join(types)}.")
        if not _is_score(score) and not isinstance(threshold, str):
            raise UserError(f"threshold: a score is a number from 0 to 1, not {score!r:.80}.")
    return {entity: float(by_type.get(entity, 0.0)) for entity in types}


def _kept_threshold(name: str, config: PretrainedConfig, types: Sequence[str]) -> dict[str, float]:
    """The scores of one of `config.thresholds`, by its name; precisions are compared as numbers."""
    kept = getattr(config, "thresholds", None)
    kept = kept if isinstance(kept, dict) else {}
    same = next((known for known in kept if known == name or _precision(known) == _precision(name) is not None), None)
    if same is None:
        names = ", ".join(map(repr, kept)) or "none (--target_precision of a run chooses some)"
        raise UserError(f"threshold {name!r:.80}: the precisions that this model has thresholds for are {names}.")
    scores = kept[same]
    if not isinstance(scores, dict) or not all(
        entity in types and (score is None or _is_score(score)) for entity, score in scores.items()
    ):
        raise UserError(f"{config_place(config)}: thresholds: {same!r:.80} is damaged: {scores!r:.80}.")
    return {entity: float("inf") if score is None else float(score) for entity, score in scores.items()}


def _precision(name: Any) -> float | None:
    with suppress(TypeError, ValueError):
        return float(name)
    return None


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def mention_probabilities(
    logits: Sequence[np.ndarray], labels: Sequence[Sequence[int]], tags: Sequence[str], temperature: float = 1.0
) -> list[np.ndarray]:
    """Return of each sentence its mentions: the probability that exactly it stands there, and its words; [2, mentions].

    Args:
        logits: one array [words, labels] per sentence.
        labels: the mentions, as a valid sequence of label ids per sentence (`constrained_decode`).
        tags: the tag of each label id.
        temperature: by which logits are divided.
    """
    mentions = [np.empty((2, 0))] * len(logits)
    transitions, opens, continues, opening = _read_tags(tuple(tags))
    chosen = [number for number, own in enumerate(labels) if not opening.isdisjoint(own)]
    for batch in make_batches([logits[number] for number in chosen], transitions.labels):
        numbers = [chosen[number] for number in batch.numbers]
        before, after, total = _forward_backward(batch, transitions, temperature)
        # Sentence after sentence; before and after a mention no other is open, which is state 0.
        opened, closed = np.empty((2, len(batch.by_place)))
        opened[batch.by_place], closed[batch.by_place] = before[:, 0], after[:, 0]
        path = np.concatenate([labels[number] for number in numbers])
        inside = np.concatenate([logits[number][range(len(labels[number])), labels[number]] for number in numbers])
        inside = np.append(inside.astype(np.float64) / temperature, 0.0)
        goes_on = np.append(continues[path[1:]], False)
        first, last = np.flatnonzero(opens[path]), np.flatnonzero((opens | continues)[path] & ~goes_on)
        sentences = np.repeat(np.arange(len(numbers)), batch.lengths)[first]
        sums = np.add.reduceat(inside, np.stack([first, last + 1], 1).ravel())[::2]
        probabilities = np.exp(np.minimum(0.0, opened[first] + sums + closed[last] - total[sentences]))
        found = np.stack([probabilities, 1 + last - first])
        for number, own in zip(
            numbers, np.split(found, np.searchsorted(sentences, range(1, len(numbers))), axis=1), strict=True
        ):
            mentions[number] = own
    return mentions


@lru_cache(maxsize=16)
def _read_tags(tags: tuple[str, ...]) -> tuple[Transitions, np.ndarray, np.ndarray, frozenset[int]]:
    """The transitions, and which labels open and continue mentions, the former also as a set."""
    opens, continues = (np.array([tag[:2] in prefixes for tag in tags]) for prefixes in (("B-", "S-"), ("I-", "E-")))
    return find_transitions(tags), opens, continues, frozenset(np.flatnonzero(opens).tolist())


def expected_errors(
    logits: Sequence[np.ndarray], tags: Sequence[str], calibration: Calibration = UNCALIBRATED
) -> list[float]:
    """Return how many errors a model expects to make in each sentence, per word: what its annotation would correct.

    Of a predicted mention that is 1 minus its score; each word outside of predicted mentions counts with the
    probability that a mention begins there.

    Args:
        logits: one array [words, labels] per sentence.
        tags: the tag of each label id.
        calibration: the model's (`read_calibration`).
    """
    errors = [0.0] * len(logits)
    decoded, scores = decode_mentions(logits, tags, calibration)
    transitions = find_transitions(tuple(tags))
    outside = np.array([tag == OUTSIDE for tag in tags])
    opens = np.array([tag[:2] in ("B-", "S-") for tag in tags])[transitions.labels]
    for batch in make_batches(logits, transitions.labels):
        before, after, total = _forward_backward(batch, transitions, calibration.temperature)
        sentences = np.repeat(np.arange(len(total)), batch.lengths)[batch.by_place]
        log_steps = before[:, transitions.sources] + batch.weights / calibration.temperature
        log_steps += after[:, transitions.targets] - total[sentences, None]
        begins = np.empty(len(sentences))
        begins[batch.by_place] = np.exp(log_steps[:, opens]).sum(1)
        ends = np.cumsum(batch.lengths)[:-1]
        for number, chances in zip(batch.numbers.tolist(), np.split(begins, ends), strict=True):
            missed = float(chances[outside[decoded[number]]].sum())
            errors[number] = (missed + sum(1 - score for score in scores[number])) / len(chances)
    return errors


def _forward_backward(
    batch: Batch, transitions: Transitions, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of sums over paths: to each state before each word, and from each state after each word (both
    [words, states]), and over all paths, [sentences].
    """
    labels, sources, first, _, targets, by_source, first_by_source = transitions
    weights = batch.weights / temperature
    sentences = len(batch.numbers)
    start = np.full((sentences, len(first)), -np.inf)
    start[:, 0] = 0.0
    before, total, own = [], np.empty(sentences), start
    for begin, end in batch.places:
        own = own[: end - begin]
        before.append(own)
        steps = own.take(sources, axis=1)
        steps += weights[begin:end]
        own = np.logaddexp.reduceat(steps, first, axis=1)
        total[: end - begin] = own[:, 0]
    after, own = [], start[:0]
    weights, targets = weights[:, by_source], targets[by_source]
    for begin, end in reversed(batch.places):
        if len(own) < end - begin:
            own = np.concatenate([own, start[len(own) : end - begin]])
        after.append(own)
        steps = own.take(targets, axis=1)
        steps += weights[begin:end]
        own = np.logaddexp.reduceat(steps, first_by_source, axis=1)
    return np.concatenate(before), np.concatenate(after[::-1]), total
