"""Whether scores are probabilities, and thresholds keep their promise: of a teacher, a student and its int8 file.

    python benchmarks/calibration.py --data ../shared/data --teacher ../shared/teacher --student student

Everything is fitted or chosen on half of the development data and measured on the other half, over SPLITS random
splits. Prints two tables and, last, one line of JSON, by model:

- `ece`: the expected calibration error of the scores, 15 bins of equal mass; `ece_softmax` that of the mean softmax
  probability of the mention's words, with a temperature of its own; `ece_raw` that without any; `ece_floor` that of
  scores that are right by construction (chance alone makes it greater than 0);
- `ece_whole`, `ece_whole_floor`: what a run reports (each half with what was fitted on the other), and by chance;
- `promises`: by precision, in how many splits a threshold was chosen (`chosen`), in how many of these the other half
  has that precision (`kept`), and the mean recall there (`recall`);
- `first`: of the FIRST sentences that a rule puts first for annotation, the model's errors (`errors`), the share with
  an error (`wrong`), and errors per 1,000 words (`per_1000_words`).
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import load
from scipy.optimize import minimize_scalar
from tqdm import tqdm
from transformers import AutoModelForTokenClassification

from hf_distill import Tagger, load_teacher
from hf_distill.evaluation.calibration import (
    ScoredMentions,
    calibrate,
    calibration_error,
    choose_threshold,
    collect_mentions,
)
from hf_distill.evaluation.metrics import Counts, count
from hf_distill.files import format_table
from hf_distill.runtime.confidence import expected_errors
from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import convert_tags, spans

FIRST = 200
PRECISIONS = (0.8, 0.85, 0.9, 0.95)


def part(counts: Counts, gold: Sequence[Sequence[str]], numbers: Sequence[int]) -> tuple[Counts, list[Sequence[str]]]:
    """A model's predictions on some of the sentences, and what is right there."""
    logits, labels = ([values[number] for number in numbers] for values in (counts.logits, counts.labels))
    return Counts(logits, labels, counts.tags, {}), [gold[number] for number in numbers]


def softmax_scores(counts: Counts, temperature: float) -> np.ndarray:
    """The mean softmax probability of the words of each mention."""
    scores = []
    for logits, labels, tags in zip(counts.logits, counts.labels, counts.predictions, strict=True):
        scaled = logits.astype(np.float64) / temperature
        probabilities = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
        chosen = probabilities[range(len(labels)), labels]
        scores += [chosen[first:last].mean() for _, first, last in spans(tags)]
    return np.array(scores)


def best_temperature(scores: Callable[[float], np.ndarray], right: np.ndarray) -> float:
    def loss(logarithm: float) -> float:
        found = np.clip(scores(np.exp(logarithm)), 1e-12, 1 - 1e-12)
        return -np.log(np.where(right, found, 1 - found)).sum()

    return float(np.exp(minimize_scalar(loss, bounds=np.log([0.1, 10.0]), method="bounded").x))


def examine(name: str, counts: Counts, gold: Sequence[Sequence[str]], splits: int) -> dict:
    """All figures of a model."""
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {each: [] for each in ("ece", "ece_softmax", "ece_raw", "ece_floor")}
    promises: dict[float, list[tuple[bool, float]]] = {precision: [] for precision in PRECISIONS}
    for _ in tqdm(range(splits), desc=name, unit=" splits"):
        order = rng.permutation(len(gold))
        fitted, measured = (part(counts, gold, half) for half in np.array_split(order, 2))
        known = calibrate(*fitted)
        scores = [calibrate(*half, known.calibration).scores for half in (fitted, measured)]
        own, other = (
            collect_mentions(half[0].predictions, each, half[1])
            for half, each in zip((fitted, measured), scores, strict=True)
        )
        temperature = best_temperature(lambda value, half=fitted[0]: softmax_scores(half, value), own.right)
        compared = {
            "ece": (other.scores, other.right),
            "ece_softmax": (softmax_scores(measured[0], temperature), other.right),
            "ece_raw": (softmax_scores(measured[0], 1.0), other.right),
            "ece_floor": (other.scores, rng.random(len(other.scores)) < other.scores),
        }
        for each, (values, right) in compared.items():
            found = calibration_error(values, right)
            assert found is not None  # there are mentions
            errors[each].append(found[0])
        for precision in PRECISIONS:
            if (threshold := choose_threshold(own, precision)) is not None:
                promises[precision].append(keep(other, threshold, precision))
    whole = calibrate(counts, gold).error
    return {each: round(float(np.mean(values)), 4) for each, values in errors.items()} | {
        **dict(zip(("ece_whole", "ece_whole_floor"), (round(value, 4) for value in whole or ()), strict=True)),
        "promises": {
            str(precision): {
                "chosen": len(kept),
                "kept": sum(bool(keeps) for keeps, _ in kept),
                "recall": round(float(np.mean([recall for _, recall in kept])), 4) if kept else None,
            }
            for precision, kept in promises.items()
        },
        "first": first_to_annotate(counts, gold),
    }


def first_to_annotate(counts: Counts, gold: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """What annotators of the first sentences by several rules would correct."""
    known = calibrate(counts, gold)
    errors = np.array(
        [len({*spans(own)} ^ {*spans(right)}) for own, right in zip(counts.predictions, gold, strict=True)]
    )
    words = np.array([len(tags) for tags in gold])
    per_word = np.array(expected_errors(counts.logits, counts.tags, known.calibration))
    rules = {
        "expected errors per word": per_word,
        "expected errors": per_word * words,
        "least score": np.array([1 - min(scores, default=1.0) for scores in known.scores]),
        "at random": np.random.default_rng(0).random(len(words)),
    }
    first = {name: np.argsort(-values, kind="stable")[:FIRST] for name, values in rules.items()}
    return {
        name: {
            "errors": int(errors[chosen].sum()),
            "wrong": round(float((errors[chosen] > 0).mean()), 4),
            "per_1000_words": round(float(1000 * errors[chosen].sum() / words[chosen].sum()), 1),
        }
        for name, chosen in first.items()
    }


def keep(mentions: ScoredMentions, threshold: float, precision: float) -> tuple[bool, float]:
    """Whether the mentions above a threshold have a precision, and their recall."""
    right = mentions.right[mentions.scores >= threshold]
    return bool(len(right)) and right.mean() >= precision, right.sum() / sum(mentions.gold.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True, help="Folder of an exported student.")
    parser.add_argument("--splits", type=int, default=100)
    args = parser.parse_args()

    devel = load(args.data, "devel")
    tagger = Tagger(args.student)
    gold = [convert_tags(tags, "IOBES") for tags in devel["tags"]]
    teacher = load_teacher(args.teacher, tagger.tags)
    model = AutoModelForTokenClassification.from_pretrained(args.student, trust_remote_code=True).eval()
    words = devel["tokens"][:]
    logits = {
        "teacher": teacher.labels.convert(predict_words(teacher.model, teacher.tokenizer, words, teacher.max_length)),
        "student": predict_words(model, tagger.tokenizer, words, tagger.max_length),
        "student, int8": tagger.predict(words)[1],
    }
    figures = {name: examine(name, count(each, gold, tagger.tags), gold, args.splits) for name, each in logits.items()}
    columns = [name for name in next(iter(figures.values())) if name not in ("promises", "first")]
    print(
        format_table(
            ["", *columns], [[name, *(f"{own[each]:.3f}" for each in columns)] for name, own in figures.items()]
        )
    )
    rows = [
        [f"{name}, {precision}", str(found["chosen"]), str(found["kept"]), f"{found['recall']}"]
        for name, own in figures.items()
        for precision, found in own["promises"].items()
    ]
    print(format_table(["", "thresholds chosen", "precision kept", "recall"], rows))
    rows = [
        [f"{name}, {rule}", *(str(value) for value in found.values())]
        for name, own in figures.items()
        for rule, found in own["first"].items()
    ]
    print(format_table([f"the first {FIRST} to annotate", "errors", "with an error", "per 1,000 words"], rows))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
