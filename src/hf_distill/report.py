"""The report: one page on one run or on several, made of the files in their folders alone."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from .card_tables import NAMES, SCORE_HEADER, gain, score_cells
from .data import EVALUATED
from .errors import KINDS, Mention, judge
from .files import read_json, training_state, write_text
from .job import JOB_NAME
from .labels import UserError, spans
from .plots import Point, brief, f1_against_cost, svg, training_curve

TEMPLATE = Path(__file__).with_name("report_template.html")
MOST_SENTENCES = 5000  # of a run, in the page
NO_TEACHER = "-"  # in the teacher's column of predictions_eval.tsv


@dataclass
class Run:
    """What a run has left in its folder."""

    name: str
    folder: Path
    results: dict
    benchmark: dict
    log_history: list
    settings: dict
    digests: dict  # of the evaluated corpora


@dataclass
class Model:
    """A row of the tables: a model's scores (`eval_f1`, `test_GENE_f1_low`, ...) and, where known, what it costs."""

    name: str
    scores: dict
    parameters: int | None = None
    weights: int | None = None  # in bytes
    latency: float | None = None  # median of a sentence, in milliseconds


def write_report(folders: Sequence[str | Path], output: str | Path) -> None:
    """Write a page that shows the runs in these output folders, side by side where they are several.

    It holds all it needs, and sentences of the development data; no path, and nothing that is not in the folders.

    Raises:
        UserError: a folder holds no results.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    runs = [_read_run(path, name) for path, name in zip(paths, names, strict=True)]
    models = _models(runs)
    browser, counts = _browse(runs)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        runs=runs,
        models=models,
        different=[name for name in EVALUATED if len({run.digests.get(name) for run in runs} - {None}) > 1],
        corpora={name: NAMES[name] for name in EVALUATED if any(f"{name}_f1" in run.results for run in runs)},
        types=sorted({entity for run in runs for entity in _types(run.results)}),
        score_header=SCORE_HEADER,
        score_cells=score_cells,
        gain=gain,
        tiles=_tiles(models) if len(runs) == 1 else [],
        plots=_cost_plots(models),
        curves={run.name: _curves(run) for run in runs},
        kinds=KINDS,
        browser=browser,
        counts=counts,
    )
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    write_text(output, page)


def _read_run(folder: Path, name: str) -> Run:
    results = read_json(folder / "all_results.json")
    if "eval_f1" not in results:
        raise UserError(
            f"{folder}: there are no results here (all_results.json). Name the --output_dir of a run that has come to "
            "its end."
        )
    settings, job = folder / "run.yaml", read_json(folder / JOB_NAME)
    return Run(
        name,
        folder,
        results,
        read_json(folder / "benchmark.json"),
        training_state(folder).get("log_history", []),
        yaml.safe_load(settings.read_text(encoding="utf-8")) if settings.exists() else {},
        {name: job[f"{name} data"] for name in EVALUATED if f"{name} data" in job},
    )


def _types(results: Mapping[str, float]) -> list[str]:
    return [
        key.removeprefix("eval_").removesuffix("_precision")
        for key in results
        if key.startswith("eval_") and key.endswith("_precision") and key != "eval_precision"
    ]


def _models(runs: Sequence[Run]) -> list[Model]:
    """Teachers first, each once, then what the runs have trained."""
    taught: dict[frozenset, list[Run]] = {}
    for run in runs:
        scores = frozenset(_scores(run.results, "teacher_").items())
        if scores:
            taught.setdefault(scores, []).append(run)
    models = []
    for scores, own in taught.items():
        name = "teacher" if len(taught) == 1 else f"teacher of {', '.join(run.name for run in own)}"
        measured = next((run.benchmark["teacher"] for run in own if "teacher" in run.benchmark), {})
        models.append(_model(name, dict(scores), measured))
    for run in runs:
        name = run.name if len(runs) > 1 else "student"
        if "baseline_eval_f1" in run.results:
            models.append(
                Model(
                    f"{name}, labels alone",
                    _scores(run.results, "baseline_"),
                    weights=_weights(run.folder / "baseline"),
                )
            )
        measured = {"parameters": run.results.get("parameters")} | run.benchmark.get("student", {})
        student = _model(name, run.results, measured)
        student.weights = _weights(run.folder) or student.weights
        models.append(student)
        if "int8_f1" in run.results:
            scores = {"eval_f1": run.results["int8_f1"]}
            models.append(Model(f"{name}, int8", scores, student.parameters, run.results["int8_bytes"]))
    return models


def _scores(results: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in results.items() if key.startswith(prefix)}


def _model(name: str, scores: dict, measured: Mapping) -> Model:
    """A model in fp32, in which a parameter takes four bytes."""
    parameters, latency = measured.get("parameters"), measured.get("batch_1", {}).get("p50_ms")
    return Model(name, scores, parameters, 4 * parameters if parameters else None, latency)


def _weights(folder: Path) -> int | None:
    """Bytes of a saved model's weights; None where there are none."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors")) or None


def _tiles(models: Sequence[Model]) -> list[tuple[str, str, str]]:
    """What a single run comes to: titles, figures and what to say of them."""
    named = {model.name: model for model in models}
    student, teacher, int8 = named["student"], named.get("teacher", Model("", {})), named.get("student, int8")
    corpus = "test" if "test_f1" in student.scores else "eval"
    f1, interval, *_ = score_cells(student.scores, f"{corpus}_")
    tiles = [(f"F1 on the {NAMES[corpus]}", f1, f"95 % interval {interval}" if interval else "")]
    for other, title in (("teacher", "F1 above the teacher's"), ("baseline", "F1 above labels alone")):
        value, bounds, chance = gain(student.scores, corpus, other)
        if value:
            tiles.append((title, value, f"95 % interval {bounds}{', may be chance' if chance else ''}"))
    if student.parameters:
        ratio = teacher.parameters and f"{brief(teacher.parameters / student.parameters)} times fewer than the teacher"
        tiles.append(("Parameters", f"{brief(student.parameters / 1e6)} M", ratio or ""))
    if student.latency:
        ratio = teacher.latency and f"{brief(teacher.latency / student.latency)} times as fast as the teacher"
        tiles.append(("Median latency of a sentence", f"{brief(student.latency)} ms", ratio or ""))
    if int8:
        tiles.append(("Weights in int8", f"{brief(int8.weights / 1e6)} MB", f"F1 {int8.scores['eval_f1']:.4f}"))
    return tiles


def _cost_plots(models: Sequence[Model]) -> list[str]:
    """F1 against latency and against size, each where there are two models to compare. Models are numbered from 1."""
    costs = {
        "median latency of a sentence, ms": lambda model: model.latency,
        "weights, MB": lambda model: model.weights and model.weights / 1e6,
    }
    plots = []
    for title, cost in costs.items():
        points = {
            number: Point(cost(model), *(model.scores.get(f"eval_f1{end}") for end in ("", "_low", "_high")))
            for number, model in enumerate(models, 1)
            if cost(model)
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


def _browse(runs: Sequence[Run]) -> tuple[dict, dict[tuple[str, str], Counter]]:
    """What the error browser shows, for JSON, and how the models err.

    Returns:
        First `texts`: sentences, a tab between words; `types` and `kinds`: names, which stand as numbers below; `runs`:
        for each run that has predictions its `name`, `sentences` and `faulty` (how many there are, and how many in
        which a model errs), and `rows`: number of the sentence, number of its text, gold, teacher's (None without a
        teacher) and student's mentions. A mention is [first word, last word + 1, type, kind]; of a gold one the kind is
        that by the student's mentions, then that by the teacher's.

        Then by (run, model) how many mentions there are of each (`gold` or `found`, kind), on all sentences.
    """
    texts: dict[str, int] = {}
    types: dict[str, int] = {}
    kinds = {kind: number for number, kind in enumerate(KINDS)}

    def pack(mentions: Sequence[Mention], *judged: Sequence[str]) -> list[list[int]]:
        return [
            [start, end, types.setdefault(entity, len(types)), *(kinds[kind] for kind in own)]
            for (entity, start, end), *own in zip(mentions, *judged, strict=True)
        ]

    shown, counts = [], {}
    for run in runs:
        path = run.folder / "predictions_eval.tsv"
        if not path.exists():
            continue
        right, faulty = [], []
        for number, (words, gold_tags, teacher_tags, student_tags) in enumerate(_read_predictions(path), 1):
            gold, found = spans(gold_tags), spans(student_tags)
            judged = {"student": judge(gold, found)}
            taught = None
            if teacher_tags[0] != NO_TEACHER:
                taught = spans(teacher_tags)
                judged["teacher"] = judge(gold, taught)
            for model, (by_gold, by_found) in judged.items():
                count = counts.setdefault((run.name, model), Counter())
                count.update(("gold", kind) for kind in by_gold)
                count.update(("found", kind) for kind in by_found)
            row = [
                number,
                "\t".join(words),
                pack(gold, *(by_gold for by_gold, _ in judged.values())),
                None if taught is None else pack(taught, judged["teacher"][1]),
                pack(found, judged["student"][1]),
            ]
            errs = any(kind != "right" for sides in judged.values() for side in sides for kind in side)
            (faulty if errs else right).append(row)
        rows = sorted([*faulty, *right][:MOST_SENTENCES])
        for row in rows:
            row[1] = texts.setdefault(row[1], len(texts))
        sentences = len(faulty) + len(right)
        shown.append({"name": run.name, "sentences": sentences, "faulty": len(faulty), "rows": rows})
    return {"texts": list(texts), "types": list(types), "kinds": list(KINDS), "runs": shown}, counts


def _read_predictions(path: Path) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Of each sentence its words, gold tags, the teacher's tags and the student's."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for blank, lines in itertools.groupby(file, key=lambda line: line == "\n"):
            if not blank:
                yield tuple(zip(*(line.rstrip("\n").split("\t") for line in lines), strict=True))
