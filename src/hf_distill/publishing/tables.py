"""Names, Markdown tables and sentences about a run, for the model card and the report."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import SchedulerType
from transformers.utils import SAFE_WEIGHTS_NAME

from ..arguments import DataArguments, ModelArguments
from ..data.corpora import Corpora
from ..data.statistics import mention_counts, word_count
from ..evaluation.calibration import ScoredMentions
from ..evaluation.metrics import Difference
from ..evaluation.scores import Results
from ..files import read_json
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.tags import UserError
from ..training_arguments import DistillationArguments, RunArguments

NAMES = {
    "train": "training data",
    "augmented": "augmented sentences",
    "unlabeled": "unlabelled sentences",
    "eval": "development data",
    "test": "test data",
}
# Models that the student is compared with: column title, and name in a sentence.
OTHERS = {
    "teacher": ("F1 of the teacher", "the teacher"),
    "baseline": ("F1 with labels alone", "the same student, trained on labels alone"),
}
# Characters that Markdown and HTML may take for a sign of their own. An underscore between letters is none.
_INTERPRETED = re.compile(r"[\\`*\[\]~<>&|$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
SCORES = ("f1", "precision", "recall", "f1_argmax", "token_f1")
SCORE_HEADER = ("F1", "95 % interval", "precision", "recall", "F1 argmax", "token F1")


def on_hub(name: str | None) -> TypeGuard[str]:
    """Whether a model or dataset is from the Hub: a valid id, and no local file or folder."""
    name = name or "/"  # no valid id
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def shown(name: str) -> str:
    """The name of a model or dataset: its Hub id, or the last part of a local path."""
    return name if on_hub(name) else Path(name).resolve().name


def markdown(text: str) -> str:
    """Return a text as Markdown, and HTML, that shows it as it stands, in one line."""
    return _INTERPRETED.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def code(text: str) -> str:
    """Return a text as code in Markdown, in one line."""
    if re.search(r"[`|\\]", text):  # Markdown has no escapes in code, HTML has
        return f"<code>{markdown(text)}</code>"
    return f"`{' '.join(text.split())}`"


def teachers_used(model_args: ModelArguments, args: DistillationArguments) -> dict[str, str]:
    """Teachers whose outputs or weights the student uses: their names, and how the card shows them."""
    if not (args.distillation or model_args.teacher_parts):
        return {}
    note = ""
    if model_args.teacher_checkpoint:
        note = f" with the weights of {code(Path(model_args.teacher_checkpoint).name)}"
    elif args.do_train_teacher:
        note = " (fine-tuned on the training data)"
    names = Counter(model_args.teacher_model_name_or_path)
    return {name: f"{code(shown(name))}{note}{f', {times} times' * (times > 1)}" for name, times in names.items()}


def taught_by(arguments: RunArguments) -> list[str]:
    """What a student learns from, as the card shows it: teachers, answers, companions."""
    model, data, args, _ = arguments
    answers = [f"the answers in {code(Path(path).name)}" for path in data.path_to_annotations]
    companions = [f"{args.companions} small student{'s' if args.companions > 1 else ''} taught before"]
    return [*teachers_used(model, args).values(), *answers, *companions * bool(args.companions)]


def source(data_args: DataArguments, corpus: str) -> str:
    """Name of the dataset or the files of a corpus."""
    if corpus != "unlabeled" and data_args.dataset_name:
        return shown(data_args.dataset_name)
    files: dict[str, Sequence[str | None]] = {
        "train": [data_args.path_to_train],
        "eval": [data_args.path_to_val],
        "test": [data_args.path_to_test],
        "unlabeled": [*data_args.path_to_unlabeled, *data_args.path_to_annotations],
    }
    names = [Path(path).name for path in files[corpus] if path]
    if corpus == "unlabeled" and data_args.unlabeled_dataset:
        names.append(shown(data_args.unlabeled_dataset))
    return ", ".join(names)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def corpora_table(arguments: RunArguments, corpora: Corpora) -> str:
    """The corpora of a run, one per row."""
    rows = []
    for name, dataset in corpora.datasets().items():
        # Unlabelled text is used only in distillation.
        if len(dataset) and (name != "unlabeled" or arguments.training.distillation):
            counts = mention_counts(dataset).items() if name != "unlabeled" else ()
            mentions = ", ".join(f"{markdown(entity)} {count:,}" for entity, count in counts)
            origin = "made from the training data" if name == "augmented" else code(source(arguments.data, name))
            rows.append([NAMES[name], origin, f"{len(dataset):,}", f"{word_count(dataset):,}", mentions])
    order = list(NAMES.values())
    rows.sort(key=lambda row: order.index(row[0]))
    return markdown_table(["", "source", "sentences", "words", "mentions"], rows)


def recipe_table(arguments: RunArguments, corpora: Corpora, config: Mapping, state: Mapping) -> str:
    """How the student was trained, one setting per row.

    Args:
        arguments: the arguments of the run.
        corpora: its data.
        config: the student's `config.json`.
        state: the trainer's state; empty if it is missing.
    """
    model_args, args, datasets = arguments.model, arguments.training, corpora.datasets()
    sizes = {"num_hidden_layers": "layers", "num_stacks": "stacks of layers", "hidden_size": "hidden size"}
    sizes |= {"embedding_size": "embedding size", "classifier_size": "hidden layer of the head"}
    sizes |= {"vocab_size": "vocabulary", "word_feature_rows": "rows for each feature of words"}
    encoder = f"those of {code(shown(model_args.embeddings_from))}" if model_args.embeddings_from else "the teacher's"
    parts = {"svd": f"word embeddings, {encoder}", "bert": "the teacher's embedding module"}
    start = [parts[model_args.embedding_type]] if model_args.embedding_type in parts else []
    if model_args.student_layers:
        start.append(f"the teacher's layers {', '.join(map(str, model_args.student_layers))} (the first is 0)")
    if model_args.student_model_name_or_path:
        start.append(code(shown(model_args.student_model_name_or_path)))
    if model_args.student_checkpoint:
        start.append(f"the weights in {code(Path(model_args.student_checkpoint).name)}")
    transfer = ("unlabeled", "augmented") if args.distillation else ("augmented",)
    length = f"{args.num_train_epochs:g} epochs" if args.max_steps <= 0 else f"{args.max_steps:,} steps"
    if state:
        length = f"{state['epoch']:.3g} epochs, {state['global_step']:,} steps"
        if args.load_best_model_at_end and state.get("best_global_step"):
            length += f"; the checkpoint of step {state['best_global_step']:,} was kept"
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if config.get("num_stacks") == 1:
        del sizes["num_stacks"]
    rows = {
        "sizes": ", ".join(f"{title} {config[name]:,}" for name, title in sizes.items() if config.get(name)),
        "teacher": ", ".join(taught_by(arguments)),
        "starts from": ", ".join(start),
        "loss": _loss(args),
        "length": length,
        "learning rate": f"{args.learning_rate:g} ({SchedulerType(args.lr_scheduler_type).value})",
        "batch": f"{batch} sentences",
        "transfer set": ", ".join(f"{len(datasets[name]):,} {NAMES[name]}" for name in transfer if name in datasets),
        "seed": str(args.seed),
    }
    return markdown_table(["", ""], [row for row in rows.items() if row[1]])


def _loss(args: DistillationArguments) -> str:
    smoothing = args.label_smoothing_factor
    hard = "cross-entropy with the labels" + (f" (label smoothing {smoothing:g})" if smoothing else "")
    if not args.distillation:
        return hard
    soft = {"mse": "mean squared error of the logits", "ce": "cross-entropy with the teacher's probabilities"}
    temperature = f" (temperature {args.temperature:g})" if args.logit_loss == "ce" else ""
    sequences = args.sequence_loss_weight
    terms = [((1 - args.alpha) * (1 - sequences), soft[args.logit_loss] + temperature)]
    terms.append(
        ((1 - args.alpha) * sequences, f"cross-entropy with the teacher's probabilities of tag sequences{temperature}")
    )
    for name, title in (("embedding", "embeddings"), ("hidden", "hidden states"), ("attention", "attentions")):
        weight = getattr(args, f"{name}_loss_weight") or 0
        terms.append(((1 - args.alpha) * weight, f"mean squared error of the {title}"))
    terms.append((args.alpha, hard))
    return " + ".join(name if weight == 1 else f"{weight:g} × {name}" for weight, name in terms if weight)


def _interval(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[f'{name}_low']:.3f} to {scores[f'{name}_high']:.3f}" if f"{name}_low" in scores else ""


def _f1(scores: Mapping[str, float], name: str = "f1") -> str:
    """An F1 with its interval, `0.8058 (0.791 to 0.820)`; empty if it was not measured."""
    if name not in scores:
        return ""
    interval = _interval(scores, name)
    return f"{scores[name]:.4f}{f' ({interval})' if interval else ''}"


def score_cells(scores: Mapping[str, float], prefix: str = "") -> list[str]:
    """The cells under `SCORE_HEADER` of the scores with a prefix (`GENE_`, ...); empty if not measured."""
    f1, *others = (format(scores[f"{prefix}{name}"], ".4f") if f"{prefix}{name}" in scores else "" for name in SCORES)
    return [f1, _interval(scores, f"{prefix}f1"), *others]


def gain_cells(gain: Difference | None) -> tuple[str, str, bool]:
    """A difference in F1, its interval, and whether the interval includes 0; `"", "", False` if not measured."""
    if gain is None:
        return "", "", False
    return f"{gain.value:+.4f}", f"{gain.low:+.3f} to {gain.high:+.3f}", gain.low <= 0 <= gain.high


def score_tables(corpus: str, types: Sequence[str], results: Results) -> dict:
    """An entry of the template's `scores`: `corpus`, `f1`, `teacher_f1`, `table` and `gains`."""
    scores = results.scores("student", corpus)
    others = {name: titles for name, titles in OTHERS.items() if results.scores(name, corpus)}
    # With a single type, its scores are those of all types.
    rows = {"all types": "", **{entity: f"{entity}_" for entity in types}} if len(types) > 1 else {types[0]: ""}
    table = [
        [
            markdown(title),
            _f1(scores, f"{prefix}f1"),
            *(f"{scores[f'{prefix}{metric}']:.4f}" for metric in ("precision", "recall")),
            *(_f1(results.scores(name, corpus), f"{prefix}f1") for name in others),
        ]
        for title, prefix in rows.items()
        if f"{prefix}f1" in scores
    ]
    gains = []
    for name, (_, model) in others.items():
        value, bounds, chance = gain_cells(results.gain(corpus, name))
        if value:
            doubt = "; the difference may be chance" if chance else ""
            gains.append(f"F1 above that of {model}: {value} ({bounds} by a paired bootstrap{doubt}).")
    return {
        "corpus": NAMES[corpus],
        "f1": _f1(scores),
        "teacher_f1": _f1(results.scores("teacher", corpus)),
        "table": markdown_table(["", "F1", "precision", "recall", *(column for column, _ in others.values())], table),
        "gains": gains,
    }


def threshold_rows(mentions: ScoredMentions, thresholds: Mapping[str, Mapping[str, float | None]]) -> list[list[str]]:
    """Precision and recall by threshold, below a header: some scores for all types, then the thresholds that a student
    keeps, by type.
    """
    rows = [["threshold", "entity type", "score at least", "precision", "recall", "mentions"]]
    rows += [[str(score), "all", str(score), *_kept_cells(mentions, score)] for score in (0, 0.5, 0.7, 0.9)]
    for name, by_type in thresholds.items():
        for entity, chosen in by_type.items():
            cells = ["none keeps it", "", "", "0"]
            if chosen is not None:
                cells = [f"{chosen:.4f}", *_kept_cells(mentions.of_type(entity), chosen)]
            rows.append([f'"{markdown(name)}"', markdown(entity), *cells])
    return rows


def _kept_cells(mentions: ScoredMentions, score: float) -> list[str]:
    kept = mentions.right[mentions.scores >= score]
    right, gold = np.count_nonzero(kept), sum(mentions.gold.values())
    return [f"{right / max(1, len(kept)):.4f}", f"{right / max(1, gold):.4f}", f"{len(kept):,}"]


def size_table(folder: Path, results: Results) -> str:
    """Sizes and F1 of the weights and of the ONNX files."""
    files = {
        SAFE_WEIGHTS_NAME: _f1(results.scores("student", "eval")),
        f"onnx/{MODEL_NAME}": _f1(results.figures, "onnx_f1"),
        f"onnx/{QUANTIZED_NAME}": _f1(results.figures, "int8_f1"),
    }
    rows = [
        (f"`{name}`", f"{(folder / name).stat().st_size / 1e6:.1f}", f1)
        for name, f1 in files.items()
        if (folder / name).exists()
    ]
    return markdown_table(["file", "MB", "F1 on the development data"], rows)


def read_benchmark(folder: Path) -> dict:
    """Read the `benchmark.json` of a run; empty if there is none.

    Raises:
        UserError: it is not what `--measure_time` writes.
    """
    path = folder / "benchmark.json"
    benchmark = read_json(path)
    try:
        cost_table(benchmark)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: is not what --measure_time writes. Remove it, or measure anew.") from None
    return benchmark


def cost_table(benchmark: Mapping) -> str:
    """Latency and throughput of student and teacher from `benchmark.json`; empty if that is missing."""
    models = [name for name in ("student", "teacher") if name in benchmark]
    if not models:
        return ""
    lines = [
        ("one sentence, median (ms)", "batch_1", "p50_ms", ".2f"),
        ("one sentence, 95th percentile (ms)", "batch_1", "p95_ms", ".2f"),
        ("32 sentences at a time (words per second)", "batch_32", "words_per_second", ",.0f"),
    ]
    rows = [["parameters", *(f"{benchmark[name]['parameters']:,}" for name in models)]]
    for title, batch, key, form in lines:
        rows.append([title, *(format(benchmark[name][batch][key], form) for name in models)])
    return markdown_table(["", *models], rows)
