"""Entity-level scores, the token-level F1 of the *BioBERT Distillation* script, and confidence intervals."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import datasets
import evaluate
import numpy as np
from scipy.stats import bootstrap
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, IOBES
from sklearn.metrics import f1_score

from ..runtime.tags import constrained_decode, convert_tags, detect_scheme, iob2_names, spans

RESAMPLES = 2000  # of the bootstrap

_SCHEMES = {"IOB2": IOB2, "IOBES": IOBES}


class EntityScores(evaluate.Metric):
    """Entity-level precision, recall and F1 (seqeval): boundaries and type of a mention have to be correct.

    With a scheme, only tag sequences that are valid in it are mentions (seqeval's strict mode). Without one, IOB2 tags
    are read as by conlleval and transformers' pipeline: an I- that continues no mention begins one.

    Unlike `evaluate.load("seqeval")`, it needs no access to the Hub.

    Example:
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


def decode(logits: Sequence[np.ndarray], tags: Sequence[str], constrained: bool = True) -> list[list[str]]:
    """Tag sequences from word logits [words, labels]: the best valid sequence, or each word's best tag."""
    chosen = constrained_decode(logits, tags) if constrained else [scores.argmax(-1) for scores in logits]
    return [[tags[label] for label in labels] for labels in chosen]


def token_f1(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], pieces: Sequence[Sequence[int]]
) -> float:
    """F1 as in the *BioBERT Distillation* script: micro-F1 over subwords with their word's IOBES tag, without O.

    Args:
        predictions: valid tag sequences of words, in either scheme.
        references: the same, of the gold data.
        pieces: number of the teacher's subwords of each word.
    """
    predicted = [tag for tags in predictions for tag in convert_tags(tags, "IOBES")]
    gold = [tag for tags in references for tag in convert_tags(tags, "IOBES")]
    weights = [count for counts in pieces for count in counts]
    labels = sorted({*predicted, *gold} - {"O"})
    if not labels:
        return 0.0
    return float(f1_score(gold, predicted, labels=labels, average="micro", sample_weight=weights, zero_division=0))


def score(
    logits: Sequence[np.ndarray],
    references: Sequence[Sequence[str]],
    tags: Sequence[str],
    pieces: Sequence[Sequence[int]] | None = None,
) -> dict[str, float]:
    """All scores of a model on a corpus.

    Args:
        logits: word logits [words, labels], one array per sentence.
        references: gold tags, in the scheme of `tags`.
        tags: the labels' tags.
        pieces: number of the teacher's subwords of each word, for `token_f1`.

    Returns:
        `f1`, `precision`, `recall` and `TYPE_f1`, ... of constrained decoding; `f1_argmax` of each word's best tag,
        converted to IOB2 and read as by transformers' pipeline; `token_f1`.
    """
    scheme = detect_scheme(tags)
    metric = EntityScores(keep_in_memory=True)
    predictions = decode(logits, tags)
    scores = metric.compute(predictions=predictions, references=references, scheme=scheme)
    names = list(iob2_names(tags).values())
    best_tags = decode(logits, names, constrained=False)
    gold = [convert_tags(sequence, "IOB2") for sequence in references]
    scores["f1_argmax"] = metric.compute(predictions=best_tags, references=gold, scheme=None)["f1"]
    if pieces is not None:
        scores["token_f1"] = token_f1(predictions, references, pieces)
    return scores


def f1_intervals(
    logits: Sequence[np.ndarray],
    references: Sequence[Sequence[str]],
    tags: Sequence[str],
    pieces: Sequence[Sequence[int]] | None = None,
) -> dict[str, float]:
    """95 % intervals (`f1_low`, `f1_high`, `GENE_f1_low`, ...) of all F1 values of `score`, with its arguments.

    They are from a percentile bootstrap over sentences (Efron and Tibshirani 1993, chapter 13).
    """
    predictions = decode(logits, tags)
    found, gold = [set(spans(each)) for each in predictions], [set(spans(each)) for each in references]
    counts = {"f1": _counts(found, gold)}
    for entity in sorted({span[0] for each in (*found, *gold) for span in each}):
        of_type = [[{span for span in each if span[0] == entity} for each in side] for side in (found, gold)]
        counts[f"{entity}_f1"] = _counts(*of_type)
    best_tags = decode(logits, list(iob2_names(tags).values()), constrained=False)
    counts["f1_argmax"] = _counts(
        [set(get_entities(each)) for each in best_tags],
        [set(get_entities(convert_tags(each, "IOB2"))) for each in references],
    )
    if pieces is not None:
        counts["token_f1"] = _counts(
            *(
                [
                    {(tag, word, piece) for word, tag in enumerate(each) if tag != "O" for piece in range(number[word])}
                    for each, number in zip((convert_tags(each, "IOBES") for each in side), pieces, strict=True)
                ]
                for side in (predictions, references)
            )
        )
    return {
        f"{name}_{end}": value
        for name, each in counts.items()
        for end, value in zip(("low", "high"), _interval(_f1, each, (0.0, 1.0)), strict=True)
    }


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
    gold = [set(spans(each)) for each in references]
    ours, theirs = (_counts([set(spans(each)) for each in side], gold) for side in (predictions, others))

    def difference(*counts: np.ndarray, axis: int) -> np.ndarray:
        return _f1(*counts[:3], axis=axis) - _f1(*counts[3:], axis=axis)

    counts = np.concatenate([ours, theirs])
    low, high = _interval(difference, counts, (-1.0, 1.0))
    return Difference(float(difference(*counts, axis=-1)), low, high)


def _counts(found: Sequence[set], gold: Sequence[set]) -> np.ndarray:
    """Numbers of correct, predicted and gold items of each sentence: [3, sentences]."""
    return np.array([(len(f & g), len(f), len(g)) for f, g in zip(found, gold, strict=True)]).T


def _f1(right: np.ndarray, found: np.ndarray, gold: np.ndarray, *, axis: int) -> np.ndarray:
    return 2 * right.sum(axis) / np.maximum(1, found.sum(axis) + gold.sum(axis))


def _interval(
    statistic: Callable[..., np.ndarray], counts: np.ndarray, possible: tuple[float, float]
) -> tuple[float, float]:
    if counts.shape[1] < 2:
        return possible  # a bootstrap needs at least two sentences
    drawn = bootstrap(
        tuple(counts), statistic, paired=True, n_resamples=RESAMPLES, batch=100, method="percentile", rng=0
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
