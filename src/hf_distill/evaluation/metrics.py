"""Entity-level scores, the token-level F1 of the *BioBERT Distillation* script, and confidence intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import datasets
import evaluate
import numpy as np
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2, IOBES

from ..runtime.decoding import constrained_decode
from ..runtime.tags import entity_types

RESAMPLES = 2000  # of the bootstrap
BLOCK = 100  # resamples in memory at once
INTERVAL = (2.5, 97.5)  # percentiles

_SCHEMES = {"IOB2": IOB2, "IOBES": IOBES}


class EntityScores(evaluate.Metric):
    """Entity-level precision, recall and F1 (seqeval): boundaries and type of a mention have to be correct.

    With a scheme, only tag sequences that are valid in it are mentions (seqeval's strict mode). Without one, IOB2 tags
    are read as by conlleval and transformers' pipeline: an I- that continues no mention begins one.

    Unlike `evaluate.load("seqeval")`, it needs no access to the Hub.

    Examples:
        >>> gold, found = [["B-GENE", "E-GENE", "O", "S-GENE"]], [["S-GENE", "O", "O", "S-GENE"]]
        >>> EntityScores().compute(predictions=found, references=gold, scheme="IOBES")["f1"]
        0.5
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Entity-level precision, recall and F1, overall and by type.",
            citation="Nakayama, 2018, seqeval",
            inputs_description="predictions, references: lists of tag sequences; scheme: IOB2, IOBES or None.",
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("string")),
                    "references": datasets.List(datasets.Value("string")),
                }
            ),
        )

    def _compute(
        self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], scheme: str | None
    ) -> dict[str, float]:
        strict = {"scheme": _SCHEMES[scheme], "mode": "strict"} if scheme else {}
        report = classification_report(references, predictions, output_dict=True, zero_division=0, **strict)
        # The keys are entity types, except those of seqeval's averages.
        overall = report.pop("micro avg")
        scores = {name: float(overall[key]) for name, key in _SCORE_KEYS.items()}
        for entity, values in report.items():
            if entity not in ("macro avg", "weighted avg"):
                scores |= {f"{entity}_{name}": float(values[key]) for name, key in _SCORE_KEYS.items()}
        return scores


_SCORE_KEYS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}


class _Mentions(NamedTuple):
    """The mentions of a corpus, whose words are numbered through.

    Attributes:
        begin: first word of each mention.
        end: last word + 1.
        entity: index of its entity type.
        words: the IOBES tag of each word as a number, -1 for O; [words].
    """

    begin: np.ndarray
    end: np.ndarray
    entity: np.ndarray
    words: np.ndarray

    def among(self, others: "_Mentions") -> np.ndarray:
        """Whether each mention is one of the others."""
        own, known = (
            each.entity
            + (1 + max(self.entity.max(initial=0), others.entity.max(initial=0)))
            * (each.begin * (1 + len(self.words)) + each.end)
            for each in (self, others)
        )
        return np.isin(own, known, assume_unique=True)


class _Reader:
    """Finds the mentions of tag sequences of the same sentences.

    They are read as by conlleval and transformers' pipeline: a tag that continues no mention begins one. In a valid
    sequence there is none.
    """

    def __init__(self, tags: Iterable[str], lengths: Sequence[int]):
        self.ids = {tag: index for index, tag in enumerate(tags)}
        self.types = entity_types(self.ids)
        self.sentences = np.repeat(np.arange(len(lengths)), lengths)  # that of each word
        self.shape = (len(self.types), len(lengths))
        self._opening = np.array([tag[:2] in ("B-", "S-") for tag in self.ids])
        entities = {entity: index for index, entity in enumerate(self.types)}
        self._entity = np.array([entities.get(tag.partition("-")[2], -1) for tag in self.ids])

    def read(self, labels: Iterable[Iterable[int]]) -> _Mentions:
        """The mentions of tags, given as indices."""
        ids = np.fromiter(chain.from_iterable(labels), np.int64, len(self.sentences))
        entity = self._entity[ids]
        goes_on = (entity >= 0) & ~self._opening[ids]
        goes_on[:1] = False
        goes_on[1:] &= (entity[1:] == entity[:-1]) & (self.sentences[1:] == self.sentences[:-1])
        begins = (entity >= 0) & ~goes_on
        ends = (entity >= 0) & ~np.append(goes_on[1:], False)[: len(ids)]
        words = np.where(entity >= 0, 4 * entity + 2 * begins + ends, -1)
        return _Mentions(np.flatnonzero(begins), np.flatnonzero(ends) + 1, entity[begins], words)

    def read_tags(self, sequences: Iterable[Iterable[str]]) -> _Mentions:
        """The mentions of tags."""
        return self.read([self.ids[tag] for tag in sequence] for sequence in sequences)

    def count(self, found: _Mentions, gold: _Mentions) -> np.ndarray:
        """Numbers of correct, predicted and gold mentions in each sentence, [3, types, sentences]."""
        right = found.among(gold)
        chosen = [(found.entity[right], found.begin[right]), (found.entity, found.begin), (gold.entity, gold.begin)]
        cells = [entity * self.shape[1] + self.sentences[begin] for entity, begin in chosen]
        size = self.shape[0] * self.shape[1]
        return np.stack([np.bincount(each, minlength=size).reshape(self.shape) for each in cells])


@dataclass(frozen=True)
class Counts:
    """The predictions of a model on a corpus, and the numbers that its scores consist of.

    Attributes:
        logits: word logits [words, labels], one array per sentence.
        labels: label ids of the best valid tag sequence of each sentence.
        tags: the labels' tags.
        counts: for each F1 (`f1`, `GENE_f1`, ..., `f1_argmax`, `token_f1`) the numbers of correct, predicted and gold
            items in each sentence, [3, sentences].
    """

    logits: Sequence[np.ndarray]
    labels: list[list[int]]
    tags: Sequence[str]
    counts: dict[str, np.ndarray]

    @property
    def predictions(self) -> list[list[str]]:
        """The best valid tag sequence of each sentence."""
        return [[self.tags[label] for label in labels] for labels in self.labels]

    def scores(self) -> dict[str, float]:
        """All scores.

        Returns:
            `f1`, `precision`, `recall` and `TYPE_f1`, ... of the predictions; `f1_argmax` of each word's best tag,
            converted to IOB2 and read as by transformers' pipeline; `token_f1`, as in the *BioBERT Distillation*
            script: micro-F1 over subwords with their word's IOBES tag, without O.
        """
        scores = {}
        for name, counts in self.counts.items():
            right, found, gold = counts.sum(1).tolist()
            scores[name] = float(_f1(right, found, gold))
            if name not in ("f1_argmax", "token_f1"):
                prefix = name.removesuffix("f1")
                scores |= {f"{prefix}precision": right / max(1, found), f"{prefix}recall": right / max(1, gold)}
        return scores

    def intervals(self) -> dict[str, float]:
        """95 % intervals (`f1_low`, `f1_high`, `GENE_f1_low`, ...) of all F1 values, from a percentile bootstrap over
        sentences (Efron and Tibshirani 1993, chapter 13).
        """
        bounds = np.array([[0.0], [1.0]]).repeat(len(self.counts), 1)
        table = np.stack(list(self.counts.values()), 1)
        if table.shape[2] > 1:  # a bootstrap needs at least two sentences
            bounds = np.percentile(_f1(*_resample(table)), INTERVAL, axis=1)
        low, high = bounds.tolist()
        ends = zip(self.counts, low, high, strict=True)
        return {name: end for f1, *both in ends for name, end in zip((f"{f1}_low", f"{f1}_high"), both, strict=True)}


def count(
    logits: Sequence[np.ndarray],
    references: Sequence[Sequence[str]],
    tags: Sequence[str],
    pieces: Sequence[Sequence[int]] | None = None,
) -> Counts:
    """Decode a model's answers to a corpus, and compare them with the gold tags.

    Args:
        logits: word logits [words, labels], one array per sentence.
        references: gold tags, in the scheme of `tags`.
        tags: the labels' tags.
        pieces: number of the teacher's subwords of each word, in order, for `token_f1`.
    """
    decoded = constrained_decode(logits, tags)
    reader = _Reader(tags, [len(scores) for scores in logits])
    gold, found = reader.read_tags(references), reader.read(decoded)
    by_type = reader.count(found, gold)
    counts = {"f1": by_type.sum(1)}
    for index, entity in enumerate(reader.types):
        if by_type[:, index].any():
            counts[f"{entity}_f1"] = by_type[:, index]
    best = reader.read(scores.argmax(-1).tolist() for scores in logits)
    counts["f1_argmax"] = reader.count(best, gold).sum(1)
    if pieces is not None:
        weights = np.fromiter(chain.from_iterable(pieces), np.int64, len(found.words))
        chosen = [(found.words == gold.words) & (gold.words >= 0), found.words >= 0, gold.words >= 0]
        counts["token_f1"] = np.stack(
            [np.bincount(reader.sentences, weights * each, len(logits)).astype(np.int64) for each in chosen]
        )
    return Counts(logits, decoded, tags, counts)


class Difference(NamedTuple):
    """A difference between two scores, with its 95 % interval."""

    value: float
    low: float
    high: float


def f1_difference(
    predictions: Sequence[Sequence[str]], others: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> Difference:
    """How much the F1 of `predictions` is above that of `others`.

    The interval is from a paired bootstrap over sentences. All tag sequences are valid, in either scheme.
    """
    every = [tag for side in (predictions, others, references) for sequence in side for tag in sequence]
    reader = _Reader(dict.fromkeys(every), [len(sequence) for sequence in references])
    gold, *sides = (reader.read_tags(each) for each in (references, predictions, others))
    table = np.stack([reader.count(side, gold).sum(1) for side in sides], 1)  # [3, 2, sentences]
    ours, theirs = _f1(*table.sum(2))
    low, high = -1.0, 1.0
    if len(references) > 1:  # a bootstrap needs at least two sentences
        drawn = _f1(*_resample(table))
        low, high = np.percentile(drawn[0] - drawn[1], INTERVAL).tolist()
    return Difference(float(ours - theirs), low, high)


def _f1(right: np.ndarray, found: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return 2 * right / np.maximum(1, found + gold)


def _resample(counts: np.ndarray) -> np.ndarray:
    """Sums over sentences, drawn with replacement as many as there are: [..., sentences] gives [..., RESAMPLES]."""
    *shape, sentences = counts.shape
    table = counts.reshape(-1, sentences).T.astype(np.float64)  # BLAS multiplies no integers; these sums are exact
    rng = np.random.default_rng(0)
    sums = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(sentences, size=(BLOCK, sentences)) + sentences * np.arange(BLOCK)[:, None]
        times = np.bincount(drawn.ravel(), minlength=BLOCK * sentences).reshape(BLOCK, sentences)
        sums.append(times.astype(np.float64) @ table)
    return np.concatenate(sums).T.reshape(*shape, RESAMPLES)
