"""The report: an HTML page about one or more runs, from the files in their output directories."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import yaml

from ..data.corpora import EVALUATED
from ..data.job import JOB_NAME
from ..evaluation.calibration import ScoredMentions, collect_mentions
from ..evaluation.error_analysis import KINDS, Mention, classify_errors
from ..evaluation.metrics import Difference
from ..evaluation.scores import RESULTS_NAME, Results
from ..files import read_json, read_yaml, training_state, write_text
from ..runtime.tags import UserError, spans
from .plots import Point, brief, f1_against_cost, reliability_diagram, svg, threshold_curve, training_curve
from .tables import NAMES, SCORE_HEADER, gain_cells, read_benchmark, score_cells

TEMPLATE = Path(__file__).with_name("report_template.html")
MOST_SENTENCES = 5000  # of a run on the page
MOST_TYPES = 12  # whose precision and recall are drawn by threshold
NO_TEACHER = NO_SCORE = "-"  # in predictions_eval.tsv


@dataclass
class Run:
    """Files of a run's output directory."""

    name: str
    folder: Path
    results: Results
    benchmark: dict
    log_history: list
    settings: dict
    digests: dict  # of the evaluated corpora


@dataclass
class Model:
    """A row of the tables: scores by corpus, gains over other models by corpus and, if known, size and latency."""

    name: str
    scores: dict[str, dict[str, float]]
    gains: dict[str, dict[str, Difference]] = field(default_factory=dict)
    parameters: int | None = None
    weights: int | None = None  # in bytes
    latency: float | None = None  # median of a sentence, in milliseconds


def write_report(folders: Sequence[str | Path], output: str | Path) -> None:
    """Write an HTML page about the runs in these output directories.

    The page is self-contained. It includes sentences of the development data, but no paths.

    Raises:
        UserError: a folder has no results.
    """
    if Path(output).is_dir():
        raise UserError(f"--output {output} is a folder; give the name of a file.")
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    runs = [_read_run(path, name) for path, name in zip(paths, names, strict=True)]
    models = _models(runs)
    browser, counts, scored = _browse(runs)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        runs=runs,
        models=models,
        different=[name for name in EVALUATED if len({run.digests.get(name) for run in runs} - {None}) > 1],
        corpora={name: NAMES[name] for name in EVALUATED if any(name in run.results.corpora() for run in runs)},
        types=sorted({entity for run in runs for entity in _types(run.results)}),
        score_header=SCORE_HEADER,
        score_cells=score_cells,
        gain_cells=gain_cells,
        tiles=_tiles(models) if len(runs) == 1 else [],
        plots=_cost_plots(models),
        curves={run.name: _curves(run) for run in runs},
        confidence={run.name: _confidence_plots(run.name, scored[run.name]) for run in runs if run.name in scored},
        kinds=KINDS,
        browser=browser,
        counts=counts,
    )
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)


def _read_run(folder: Path, name: str) -> Run:
    results = _read_results(folder / RESULTS_NAME)
    if not results.scores("student", "eval"):
        raise UserError(
            f"{folder}: there are no results here (all_results.json). Name the --output_dir of a run that is finished."
        )
    settings, job = folder / "run.yaml", read_json(folder / JOB_NAME)
    history = training_state(folder).get("log_history", [])
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise UserError(f"{folder}: trainer_state.json: log_history is no list of objects. Remove that file.")
    return Run(
        name,
        folder,
        results,
        read_benchmark(folder),
        history,
        _read_settings(settings) if settings.exists() else {},
        {name: str(job[f"{name} data"]) for name in EVALUATED if f"{name} data" in job},
    )


def _read_results(path: Path) -> Results:
    scores = read_json(path)
    wrong = [name for name, value in scores.items() if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is {scores[wrong[0]]!r:.80}, no number. Evaluate the student again.")
    try:
        return Results.from_dict(scores)
    except TypeError as error:
        raise UserError(f"{path}: of a difference, a bound is missing ({error}). Evaluate the student again.") from None


def _read_settings(path: Path) -> dict:
    text = read_yaml(path)
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected names and values of arguments.")
    return settings


def _types(results: Results) -> list[str]:
    scores = results.scores("student", "eval")
    return [name.removesuffix("_precision") for name in scores if name.endswith("_precision")]


def _models(runs: Sequence[Run]) -> list[Model]:
    """The distinct teachers, then the models that the runs trained."""
    teachers: list[tuple[dict, list[Run]]] = []
    for run in runs:
        scores = _scores(run.results, "teacher")
        if scores:
            known = next((own for other, own in teachers if other == scores), None)
            if known is None:
                teachers.append((scores, known := []))
            known.append(run)
    models = []
    for scores, own in teachers:
        name = "teacher" if len(teachers) == 1 else f"teacher of {', '.join(run.name for run in own)}"
        measured: dict = next((run.benchmark["teacher"] for run in own if "teacher" in run.benchmark), {})
        models.append(_model(name, scores, measured))
    for run in runs:
        name, figures = run.name if len(runs) > 1 else "student", run.results.figures
        baseline = _scores(run.results, "baseline")
        if baseline:
            models.append(Model(f"{name}, labels alone", baseline, weights=_weights(run.folder / "baseline")))
        measured = {"parameters": figures.get("parameters")} | run.benchmark.get("student", {})
        student = _model(name, _scores(run.results, "student"), measured)
        student.weights = _weights(run.folder) or student.weights
        student.gains = run.results.gains
        models.append(student)
        if "int8_f1" in figures:
            int8 = {"eval": {"f1": figures["int8_f1"]}}
            size = int(figures["int8_bytes"])
            models.append(Model(f"{name}, int8", int8, parameters=student.parameters, weights=size))
    return models


def _scores(results: Results, model: str) -> dict[str, dict[str, float]]:
    """A model's scores by corpus."""
    return {corpus: evaluation.scores for corpus, evaluation in results.evaluations.get(model, {}).items()}


def _model(name: str, scores: dict, measured: Mapping) -> Model:
    """A model in fp32, with four bytes per parameter."""
    parameters, latency = measured.get("parameters"), measured.get("batch_1", {}).get("p50_ms")
    return Model(name, scores, {}, parameters, 4 * parameters if parameters else None, latency)


def _weights(folder: Path) -> int | None:
    """Bytes of a saved model's weights; None if there are none."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors")) or None


def _tiles(models: Sequence[Model]) -> list[tuple[str, str, str]]:
    """Key figures of a single run: titles, values and notes."""
    named = {model.name: model for model in models}
    student, teacher, int8 = named["student"], named.get("teacher", Model("", {})), named.get("student, int8")
    corpus = "test" if "test" in student.scores else "eval"
    f1, interval, *_ = score_cells(student.scores[corpus])
    tiles = [(f"F1 on the {NAMES[corpus]}", f1, f"95 % interval {interval}" if interval else "")]
    for other, title in (("teacher", "F1 above the teacher's"), ("baseline", "F1 above labels alone")):
        value, bounds, chance = gain_cells(student.gains.get(corpus, {}).get(other))
        if value:
            tiles.append((title, value, f"95 % interval {bounds}{', may be chance' if chance else ''}"))
    if student.parameters:
        ratio = teacher.parameters / student.parameters if teacher.parameters else 0
        note = f"{brief(ratio)} times fewer than the teacher" if ratio else ""
        tiles.append(("Parameters", f"{brief(student.parameters / 1e6)} M", note))
    if student.latency:
        ratio = teacher.latency / student.latency if teacher.latency else 0
        note = f"{brief(ratio)} times as fast as the teacher" if ratio else ""
        tiles.append(("Median latency of a sentence", f"{brief(student.latency)} ms", note))
    if int8 and int8.weights:
        tiles.append(("Weights in int8", f"{brief(int8.weights / 1e6)} MB", f"F1 {int8.scores['eval']['f1']:.4f}"))
    return tiles


def _cost_plots(models: Sequence[Model]) -> list[str]:
    """Plots of F1 against latency and against size, for two or more measured models, numbered from 1."""
    costs = {
        "median latency of a sentence, ms": lambda model: model.latency,
        "weights, MB": lambda model: model.weights and model.weights / 1e6,
    }
    plots = []
    for title, cost in costs.items():
        points = {
            number: Point(cost(model), scores["f1"], scores.get("f1_low"), scores.get("f1_high"))
            for number, model in enumerate(models, 1)
            if cost(model) and (scores := model.scores["eval"])
        }
        if len(points) > 1:
            names = ", ".join(f"{number} {models[number - 1].name}" for number in points)
            plots.append(svg(f1_against_cost(points, title), f"F1 on the development data against {title}: {names}"))
    return plots


def _curves(run: Run) -> list[str]:
    figures = {
        f"Training loss of {run.name} by step": training_curve(run.log_history, f1=False),
        f"F1 of {run.name} on the development data by step": training_curve(run.log_history, loss=False),
    }
    return [svg(figure, title) for title, figure in figures.items() if figure]


def _confidence_plots(name: str, scored: Mapping[str, ScoredMentions]) -> list[str]:
    """A run's reliability diagram, and precision and recall by threshold for its most frequent types."""
    figures = {}
    drawn = {model: mentions for model, mentions in scored.items() if len(mentions.scores)}
    if drawn:
        figures[f"Precision of mentions by score, {name}"] = reliability_diagram(drawn)
    types = Counter(scored["student"].types.tolist())
    for entity in sorted(entity for entity, _ in types.most_common(MOST_TYPES)):
        title = f"Precision and recall of {entity} by threshold, {name}"
        figures[title] = threshold_curve(scored["student"].of_type(entity), entity)
    return [svg(figure, title) for title, figure in figures.items()]


def _browse(
    runs: Sequence[Run],
) -> tuple[dict, dict[tuple[str, str], Counter], dict[str, dict[str, ScoredMentions]]]:
    """Data of the error browser, counts of errors, and the scored mentions of each run's models.

    Returns:
        The data, for JSON: `texts`, sentences with tabs between words; `types` and `kinds`, names that are given by
        their indices below; `runs`, for each run with predictions `name`, `sentences` and `faulty` (numbers of all
        sentences and of those with an error), and `rows`: sentence number, index of the text, and the mentions of gold,
        teacher (None without a teacher) and student. A mention is [first word, last word + 1, type, kind, score]; a
        gold one has two kinds, by the student's and by the teacher's predictions, and no score.

        The counts, by (run, model): the number of mentions by (`gold` or `found`, kind), over all sentences.

        By run and model, its predicted mentions.
    """
    texts: dict[str, int] = {}
    types: dict[str, int] = {}
    kinds = {kind: number for number, kind in enumerate(KINDS)}

    def pack(mentions: Sequence[Mention], *columns: Sequence[str | float]) -> list[list[float]]:
        return [
            [start, end, types.setdefault(entity, len(types)), *(kinds.get(cell, cell) for cell in own)]
            for (entity, start, end), *own in zip(mentions, *columns, strict=True)
        ]

    shown = []
    counts: dict[tuple[str, str], Counter] = {}
    scored: dict[str, dict[str, ScoredMentions]] = {}
    for run in runs:
        path = run.folder / "predictions_eval.tsv"
        if not path.exists():
            continue
        right: list[list] = []
        faulty: list[list] = []
        predictions = list(_read_predictions(path))
        tags_and_scores: dict[str, list] = {"student": []}
        for number, (words, gold_tags, *by_teacher, student_tags, student_scores) in enumerate(predictions, 1):
            gold, found = spans(gold_tags), spans(student_tags)
            scores = _mention_scores(student_scores)
            tags_and_scores["student"].append((student_tags, scores))
            errors = {"student": classify_errors(gold, found)}
            teacher_mentions = None
            if by_teacher[0][0] != NO_TEACHER:
                teacher_mentions, teacher_scores = spans(by_teacher[0]), _mention_scores(by_teacher[1])
                tags_and_scores.setdefault("teacher", []).append((by_teacher[0], teacher_scores))
                errors["teacher"] = classify_errors(gold, teacher_mentions)
            for model, (by_gold, by_found) in errors.items():
                count = counts.setdefault((run.name, model), Counter())
                count.update(("gold", kind) for kind in by_gold)
                count.update(("found", kind) for kind in by_found)
            row: list = [
                number,
                "\t".join(words),
                pack(gold, *(by_gold for by_gold, _ in errors.values())),
                None if teacher_mentions is None else pack(teacher_mentions, errors["teacher"][1], teacher_scores),
                pack(found, errors["student"][1], scores),
            ]
            has_error = any(kind != "right" for sides in errors.values() for side in sides for kind in side)
            (faulty if has_error else right).append(row)
        rows = sorted([*faulty, *right][:MOST_SENTENCES])
        for row in rows:
            row[1] = texts.setdefault(row[1], len(texts))
        sentences = len(faulty) + len(right)
        shown.append({"name": run.name, "sentences": sentences, "faulty": len(faulty), "rows": rows})
        references = [gold_tags for _, gold_tags, *_ in predictions]
        scored[run.name] = {
            model: collect_mentions([tags for tags, _ in values], [scores for _, scores in values], references)
            for model, values in tags_and_scores.items()
        }
    return {"texts": list(texts), "types": list(types), "kinds": list(KINDS), "runs": shown}, counts, scored


def _mention_scores(cells: Sequence[str]) -> list[float]:
    """The scores in a column that has one at the first word of each mention."""
    return [float(cell) for cell in cells if cell != NO_SCORE]


def _read_predictions(path: Path) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield words, gold tags, tags and scores of the teacher, and tags and scores of the student, of each sentence."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for blank, lines in itertools.groupby(enumerate(file, 1), key=lambda line: line[1] == "\n"):
            if blank:
                continue
            numbers, rows = zip(*((number, line.rstrip("\n").split("\t")) for number, line in lines), strict=True)
            if len(rows[0]) != 6:
                raise UserError(
                    f"{path}: has {len(rows[0])} columns, not 6 (word, gold tag, tag and score of teacher and of "
                    "student). Run with --do_train 0 to evaluate the student again."
                )
            if not _are_predictions(rows):
                raise UserError(
                    f"{path}:{numbers[0]}: not as it was written: each line has 6 columns, each mention a score at its "
                    "first word. Run with --do_train 0 to evaluate the student again."
                )
            yield tuple(zip(*rows, strict=True))


def _are_predictions(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all lines of a sentence have six columns, and each mention of teacher and student has a score."""
    if any(len(row) != 6 for row in rows):
        return False
    _, _, *by_model = zip(*rows, strict=True)
    for tags, cells in (by_model[:2], by_model[2:]):
        scores = [cell for cell in cells if cell != NO_SCORE]
        found = [] if tags[0] == NO_TEACHER else spans(tags)
        if len(scores) != len(found) or not all(re.fullmatch(r"[01]\.\d+", score) for score in scores):
            return False
    return True
