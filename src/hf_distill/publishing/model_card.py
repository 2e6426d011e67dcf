"""The model card: the results of a run, as README.md of the student's Hub repository."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2.sandbox import SandboxedEnvironment
from matplotlib.figure import Figure

from ..arguments import DataArguments
from ..data.corpora import Corpora
from ..evaluation.calibration import collect_mentions
from ..evaluation.scores import Results
from ..evaluation.stock_pipeline import STRATEGIES
from ..files import read_json, recorded, training_state
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.tags import UserError, entity_types
from ..training_arguments import RunArguments
from .plots import Point, f1_against_latency, training_curve
from .tables import (
    code,
    corpora_table,
    cost_table,
    markdown,
    markdown_table,
    on_hub,
    read_benchmark,
    recipe_table,
    score_tables,
    size_table,
    source,
    taught_by,
    teachers_used,
    threshold_rows,
)

CURVE_NAME, LATENCY_NAME = "training_curve.png", "f1_against_latency.png"
TEMPLATE = Path(__file__).with_name("model_card_template.md")
SPLITS = {"eval": "validation", "test": "test"}
ARCHITECTURES = {"bilstm": "BiLSTM", "bert": "BERT"}
EXAMPLES, EXAMPLE_WORDS = 3, 12  # the widget's sentences, and their preferred length


def write_card(folder: Path, arguments: RunArguments, corpora: Corpora, results: Results) -> None:
    """Write `README.md` and its figures into the output directory of a finished run.

    Reads `config.json`, the sizes of the weights and, if they exist, the trainer's state, `benchmark.json` and `onnx`.
    Local models, files and datasets are shown without their folders.

    Raises:
        UserError: the template cannot be rendered.
    """
    data_args, args, publishing = arguments.data, arguments.training, arguments.publishing
    config, benchmark = read_json(folder / "config.json"), read_benchmark(folder)
    state = training_state(folder)
    model_id = args.hub_model_id or folder.resolve().name
    teachers = teachers_used(arguments.model, args)
    # Only sentences of public data are published.
    examples = publishing.widget_examples or (_examples(corpora.eval) if on_hub(data_args.dataset_name) else [])
    onnx = [name for name in (MODEL_NAME, QUANTIZED_NAME) if (folder / "onnx" / name).exists()]
    distilled = args.do_train and args.distillation
    card_data = ModelCardData(
        license=publishing.license,
        language=publishing.language or None,
        library_name="transformers",
        pipeline_tag="token-classification",
        tags=["hf_distill", "ner", config["model_type"], *["distillation"] * distilled, *["onnx"] * bool(onnx)],
        base_model=[name for name in teachers if args.do_train and on_hub(name)] or None,
        datasets=[data_args.dataset_name] if on_hub(data_args.dataset_name) else None,
        metrics=["precision", "recall", "f1"],
        model_name=model_id.rpartition("/")[2],
        eval_results=_eval_results(data_args, results),
        widget=[{"text": text} for text in examples] or None,
    )
    types = entity_types(corpora.tags)
    student = results.evaluations["student"]["eval"]
    mentions = collect_mentions(student.predictions, student.mention_scores, corpora.eval["tags"])
    promises = config.get("thresholds", {})
    header, *rows = threshold_rows(mentions, promises)
    drawn = {
        CURVE_NAME: training_curve(state.get("log_history", [])),
        LATENCY_NAME: _latency_figure(benchmark, results),
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    variables = {
        "model_id": model_id,
        "model_name": card_data.model_name,
        "architecture": ARCHITECTURES.get(config["model_type"], config["model_type"]),
        "types": [markdown(entity) for entity in types],
        "remote_code": "AutoModelForTokenClassification" in config.get("auto_map", {}),
        "word_features": bool(config.get("word_feature_rows")),
        "pipelines": {
            name: results.figures[f"{name}_pipeline_f1"]
            for name in ("own", *STRATEGIES)
            if f"{name}_pipeline_f1" in results.figures
        },
        "trained": args.do_train,
        "distilled": distilled,
        "teachers": taught_by(arguments),
        "gold": bool(len(corpora.train)),
        "example": literal(examples[0] if examples else "Your text."),
        "onnx": onnx,
        "corpora": corpora_table(arguments, corpora),
        "recipe": recipe_table(arguments, corpora, config, state) if args.do_train else "",
        "scores": [score_tables(name, types, results) for name in results.corpora()],
        "thresholds": markdown_table(header, rows),
        "promises": [
            name for name, by_type in promises.items() if any(score is not None for score in by_type.values())
        ],
        "sizes": size_table(folder, results),
        "costs": cost_table(benchmark),
        "chosen": args.do_train and args.load_best_model_at_end,
        "word_rule": config.get("word_rule"),
        "word_rule_finds": config.get("word_rule_finds"),
        "training_curve": CURVE_NAME if CURVE_NAME in figures else "",
        "f1_against_latency": LATENCY_NAME if LATENCY_NAME in figures else "",
        "results": results.to_dict(),
        "benchmark": benchmark,
    }
    template = publishing.card_template or str(TEMPLATE)
    try:
        card = render_card(Path(template).read_text(encoding="utf-8"), card_data, variables)
    except Exception as error:  # a template may fail in any way
        raise UserError(f"{template}: this template gives no model card: {error}") from error
    with recorded(folder) as temporary:
        card.save(temporary / "README.md")
        for name, figure in figures.items():
            figure.savefig(temporary / name)


def literal(text: str) -> str:
    """Return a text as a Python literal."""
    return json.dumps(text, ensure_ascii=False)


def render_card(template: str, card_data: ModelCardData, variables: Mapping[str, Any]) -> ModelCard:
    """Fill in a template, as `ModelCard.from_template` does, but where it reaches nothing beyond its variables.

    Raises:
        Exception: of any kind, as the template may have any error.
    """
    environment = SandboxedEnvironment()
    environment.filters |= {"markdown": markdown, "code": code, "literal": literal}
    fields = card_data.to_dict() | dict(variables)
    return ModelCard(environment.from_string(template).render(card_data=card_data.to_yaml(), **fields))


def _examples(devel: Dataset) -> list[str]:
    """The sentences with a mention whose length is closest to `EXAMPLE_WORDS`."""
    found = {" ".join(row["tokens"]): len(row["tokens"]) for row in devel if any(tag != "O" for tag in row["tags"])}
    return sorted(found, key=lambda text: abs(found[text] - EXAMPLE_WORDS))[:EXAMPLES]


def _eval_results(data_args: DataArguments, results: Results) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type=data_args.dataset_name if on_hub(data_args.dataset_name) else "local",
            dataset_name=source(data_args, name),
            dataset_config=data_args.dataset_config_name,
            dataset_split=SPLITS[name],
            metric_type=metric,
            metric_name=f"{metric} (entity level)",
            metric_value=round(results.scores("student", name)[metric], 4),
        )
        for name in results.corpora()
        for metric in ("precision", "recall", "f1")
    ]


def _latency_figure(benchmark: Mapping, results: Results) -> Figure | None:
    """Plot F1 against latency; None for fewer than two measured models."""
    corpus = results.corpora()[-1]
    points = {
        model: Point(benchmark[model]["batch_1"]["p50_ms"], scores["f1"], scores["f1_low"], scores["f1_high"])
        for model in ("student", "teacher")
        if model in benchmark and (scores := results.scores(model, corpus))
    }
    return f1_against_latency(points) if len(points) > 1 else None
