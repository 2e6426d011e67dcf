"""Scores of the models of a run on its evaluated corpora, and their names in `all_results.json`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from datasets import Dataset

from ..data.corpora import EVALUATED
from ..runtime.confidence import UNCALIBRATED, Calibration
from .metrics import Difference, f1_difference

RESULTS_NAME = "all_results.json"  # in the output directory
# Of each model the prefix of its scores' names.
PREFIXES = {"student": "", "teacher": "teacher_", "baseline": "baseline_"}
_SCORE = re.compile(rf"(teacher_|baseline_|)({'|'.join(EVALUATED)})_(.+)")
_GAIN = re.compile(r"f1_above_(teacher|baseline)(_low|_high|)")


@dataclass
class Evaluation:
    """A model on one corpus.

    Attributes:
        scores: `f1`, `f1_low`, `precision`, `GENE_f1`, ... (see `metrics.Counts`).
        predictions: tags, one list per sentence.
        mention_scores: the scores of each sentence's predicted mentions.
        calibration: that of these scores.
    """

    scores: dict[str, float]
    predictions: list[list[str]] = field(default_factory=list)
    mention_scores: list[list[float]] = field(default_factory=list)
    calibration: Calibration = UNCALIBRATED


@dataclass
class Results:
    """What a run has measured.

    Attributes:
        evaluations: by model (`student`, `teacher`, `baseline`) and corpus (`eval`, `test`).
        gains: how much the student's F1 is above that of another model, by corpus and the other model's name.
        figures: everything else (`parameters`, `train_sentences`, `int8_f1`, ...).
    """

    evaluations: dict[str, dict[str, Evaluation]] = field(default_factory=dict)
    gains: dict[str, dict[str, Difference]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def scores(self, model: str, corpus: str) -> dict[str, float]:
        """The scores of a model on a corpus; empty if it was not evaluated."""
        evaluation = self.evaluations.get(model, {}).get(corpus)
        return evaluation.scores if evaluation else {}

    def gain(self, corpus: str, other: str) -> Difference | None:
        """How much the student's F1 is above that of another model; None if they were not compared."""
        return self.gains.get(corpus, {}).get(other)

    def corpora(self) -> list[str]:
        """The corpora on which the student was evaluated, `eval` first."""
        return [corpus for corpus in EVALUATED if self.scores("student", corpus)]

    def compare(self, datasets: Mapping[str, Dataset]) -> None:
        """Compare the student with each other model, on each corpus (by name in `datasets`)."""
        for corpus, student in self.evaluations["student"].items():
            for other, evaluations in self.evaluations.items():
                if other != "student" and corpus in evaluations:
                    predictions = evaluations[corpus].predictions
                    gain = f1_difference(student.predictions, predictions, datasets[corpus]["tags"])
                    self.gains.setdefault(corpus, {})[other] = gain

    def to_dict(self) -> dict[str, float]:
        """Everything under a flat name: `eval_f1`, `teacher_eval_GENE_f1_low`, `test_f1_above_teacher`, ..."""
        flat = dict(self.figures)
        for model, by_corpus in self.evaluations.items():
            for corpus, evaluation in by_corpus.items():
                flat |= {f"{PREFIXES[model]}{corpus}_{name}": value for name, value in evaluation.scores.items()}
        for corpus, by_model in self.gains.items():
            for other, gain in by_model.items():
                name = f"{corpus}_f1_above_{other}"
                flat |= {name: gain.value, f"{name}_low": gain.low, f"{name}_high": gain.high}
        return dict(sorted(flat.items()))

    @classmethod
    def from_dict(cls, flat: Mapping[str, float]) -> "Results":
        """What `to_dict` wrote, without predictions."""
        models = {prefix: model for model, prefix in PREFIXES.items()}
        results = cls()
        bounds: dict[tuple[str, str], dict[str, float]] = {}
        for name, value in flat.items():
            found = _SCORE.fullmatch(name)
            if not found:
                results.figures[name] = value
                continue
            prefix, corpus, score = found.groups()
            gain = _GAIN.fullmatch(score)
            if gain and not prefix:
                bounds.setdefault((corpus, gain[1]), {})[gain[2].removeprefix("_") or "value"] = value
            else:
                by_corpus = results.evaluations.setdefault(models[prefix], {})
                by_corpus.setdefault(corpus, Evaluation({})).scores[score] = value
        for (corpus, other), values in bounds.items():
            results.gains.setdefault(corpus, {})[other] = Difference(**values)
        return results
