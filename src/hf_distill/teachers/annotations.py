"""Labellers that are known by their answers alone: a language model, GLiNER, spaCy, people."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from datasets import Dataset
from transformers.utils import logging

from ..data.statistics import known_types, sentence_keys
from ..data.tag_format import differing_in_case
from ..runtime.tags import OUTSIDE, UserError, entity_types, spans
from .labels import LEAST

logger = logging.get_logger(__name__)

# Of answers without scores that cover too little of the development data to be measured.
CONFIDENCE = 0.9
MEASURED_WORDS = 30
# Less would make the student learn not to find what the labeller finds.
LEAST_CONFIDENCE = 0.6


@dataclass(frozen=True, eq=False)
class StoredAnswers:
    """A labeller that teaches by stored answers, as a `Teacher` does by its head.

    The words of a mention have its tag with the probability that is its score, else `confidence`, and are O with the
    rest; any other word is O.

    Attributes:
        name: the labeller.
        tags: the student's labels.
        rows: its answers, with the columns of `ANSWERS`; several to one sentence are averaged.
        confidence: the probability of mentions.
        scored: whether scores count.

    Examples:
        >>> [gliner] = stored_answers(corpora.annotations, corpora.tags, corpora.eval)
        >>> gliner.predict(corpora.unlabeled["tokens"][:1])[0].shape == (len(corpora.unlabeled["tokens"][0]), 5)
        True
    """

    name: str
    tags: Sequence[str]
    rows: Dataset
    confidence: float
    scored: bool = True

    def predict(self, sentences: Sequence[Sequence[str]], bf16: bool = False) -> list[np.ndarray]:
        """Return word logits [words, student labels] of each sentence; NaN for one without an answer."""
        own = [self._rows_of.get(key, []) for key in sentence_keys(Dataset.from_dict({"tokens": sentences})).tolist()]
        answers = iter(self.rows.select([row for rows in own for row in rows]))
        logits = []
        for words, rows in zip(sentences, own, strict=True):
            each = [self._probabilities(next(answers)) for _ in rows]
            silent = np.full((len(words), len(self.tags)), np.nan, dtype=np.float32)
            logits.append(_logits(np.mean(each, 0)) if each else silent)
        return logits

    @cached_property
    def _rows_of(self) -> dict[bytes, list[int]]:
        """The rows that answer a sentence, by its key."""
        rows: dict[bytes, list[int]] = {}
        for row, key in enumerate(sentence_keys(self.rows).tolist()):
            rows.setdefault(key, []).append(row)
        return rows

    def _probabilities(self, row: dict) -> np.ndarray:
        """Probabilities [words, labels] of an answer."""
        ids = {tag: index for index, tag in enumerate(self.tags)}
        # A mention of a type that the student does not have counts as O.
        labels = np.array([ids.get(tag, ids[OUTSIDE]) for tag in row["tags"]])
        scores = np.array(row["scores"]) if self.scored else np.full(len(labels), np.nan)
        scores = np.where(np.isnan(scores), self.confidence, scores)
        probabilities = np.zeros((len(labels), len(self.tags)))
        probabilities[:, ids[OUTSIDE]] = 1 - scores
        probabilities[np.arange(len(labels)), labels] = np.where(labels == ids[OUTSIDE], 1, scores)
        return probabilities

    def fingerprint(self) -> str:
        """Return a digest of all that determines its answers."""
        digest = hashlib.sha256(f"answers 1 {list(self.tags)} {self.confidence} {self.scored}".encode())
        digest.update(sentence_keys(self.rows).tobytes())
        for row in self.rows.select_columns(["tags", "scores"]):
            digest.update(f"{row}".encode())
        return digest.hexdigest()


def stored_answers(
    annotations: Dataset, tags: Sequence[str], devel: Dataset, confidence: float | None = None
) -> list[StoredAnswers]:
    """Make a labeller of the answers of each source.

    Args:
        annotations: answers, with the columns of `ANSWERS`.
        tags: the student's labels.
        devel: labelled sentences. The confidence in the mentions of a source, where these have no scores, is the share
            of their words that have the same tag here.
        confidence: that of all mentions, whatever their scores.

    Raises:
        UserError: the answers lack an entity type of the student, but have others.
    """
    _check_types(annotations, tags)
    if confidence is None:
        _warn_of_low_scores(annotations)
    labellers = []
    names = annotations["source"][:]
    for name in dict.fromkeys(names):
        rows = annotations.select([row for row, each in enumerate(names) if each == name])
        own = confidence
        if own is None and _lacks_scores(rows):
            own = _measure_confidence(rows, devel, name)
        labellers.append(StoredAnswers(name, tags, rows, CONFIDENCE if own is None else own, confidence is None))
    return labellers


def certain(labels: Sequence[int], n_labels: int) -> np.ndarray:
    """Return the logits [words, labels] of labels that are known."""
    return _logits(np.eye(n_labels)[labels])


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Log-probabilities of which none is infinite."""
    n_labels = probabilities.shape[-1]
    return np.log((1 - LEAST) * probabilities + LEAST / n_labels).astype(np.float32)


def _check_types(annotations: Dataset, tags: Sequence[str]) -> None:
    types, found = entity_types(tags), known_types(annotations)
    missing = [entity for entity in types if entity not in found]
    others = [entity for entity in found if entity not in types]
    if missing and others:
        hints = [f"{other}={one}" for one, other in differing_in_case(missing, others)]
        raise UserError(
            f"--path_to_annotations: the answers have no mention of {', '.join(missing)}, but of {', '.join(others)}, "
            f"which the student's labels lack. If it is the same: --rename_types {' '.join(hints) or 'OLD=NEW'}; else "
            "take those mentions out of the answers."
        )
    if missing:
        logger.warning(f"--path_to_annotations: the answers have no mention of {', '.join(missing)}.")
    if others:
        logger.warning(
            f"--path_to_annotations: mentions of {', '.join(others)}, which the student's labels lack, count as O."
        )


def _warn_of_low_scores(annotations: Dataset) -> None:
    """Warn of mentions that are improbable by their own scores."""
    first = [row["scores"][word] for row in annotations for _, word, _ in spans(row["tags"])]
    low = sum(score < 0.5 for score in first)
    if low:
        logger.warning(
            f"--path_to_annotations: {low:,} of {len(first):,} mentions have a score below 0.5, so that they are "
            "rather none: the student learns not to find them. (--annotation_confidence takes all mentions as found.)"
        )


def _lacks_scores(rows: Dataset) -> bool:
    """Whether a mention has no score."""
    return any(
        tag != OUTSIDE and np.isnan(score)
        for row in rows
        for tag, score in zip(row["tags"], row["scores"], strict=True)
    )


def _measure_confidence(rows: Dataset, devel: Dataset, name: str) -> float:
    """The share of the words of mentions that have the same tag in the development data."""
    gold = dict(zip(sentence_keys(devel).tolist(), devel["tags"], strict=True))
    same = [
        tag == other
        for key, tags in zip(sentence_keys(rows).tolist(), rows["tags"], strict=True)
        for tag, other in zip(tags, gold.get(key, []), strict=False)
        if tag != OUTSIDE
    ]
    if len(same) < MEASURED_WORDS:
        logger.warning(
            f"{name}: mentions have no scores, and answers to too few development sentences say how good they are: "
            f"each is taken for {CONFIDENCE:.0%} sure. (--annotation_confidence decides otherwise.)"
        )
        return CONFIDENCE
    share = sum(same) / len(same)
    logger.warning(
        f"{name}: mentions have no scores; {share:.1%} of their words have the right tag in the development data, so "
        f"each is taken for {max(share, LEAST_CONFIDENCE):.0%} sure. (--annotation_confidence decides otherwise.)"
    )
    return max(share, LEAST_CONFIDENCE)
