"""The end of a run: scores of teachers and students, and the files in the output directory."""

import dataclasses
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import PartialState
from huggingface_hub import CommitInfo
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from ..arguments import COMMAND
from ..data.corpora import EVALUATED, Corpora
from ..data.encoding import encode_dataset, word_pieces
from ..data.statistics import known_types, mention_counts, word_count
from ..evaluation.calibration import calibrate, choose_threshold, collect_mentions
from ..evaluation.cost import benchmark_table, exported_table, measure, measure_exported
from ..evaluation.metrics import Counts, count
from ..evaluation.scores import RESULTS_NAME, Evaluation, Results
from ..evaluation.stock_pipeline import STRATEGIES, compare_pipelines
from ..files import format_table, record, write_columns, write_json
from ..publishing.hub import write_run
from ..publishing.model_card import write_card
from ..publishing.onnx_export import export_onnx, instruction_set
from ..publishing.report import write_report
from ..publishing.tables import SCORE_HEADER, score_cells, threshold_rows
from ..runtime.confidence import Calibration
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.tags import UserError, entity_types, spans
from ..runtime.word_features import word_feature_rows
from ..students.save import save_model
from ..students.student import Student
from ..teachers.signals import SignalStore, read_signals
from ..teachers.teacher import Teacher
from ..training.trainer import DistillationTrainer
from ..training_arguments import DistillationArguments, RunArguments
from .preparation import print_main

logger = logging.get_logger(__name__)


def evaluate_teachers(
    pieces_of: PreTrainedTokenizerBase,
    corpora: Corpora,
    args: DistillationArguments,
    stores: Mapping[str, Sequence[SignalStore]],
) -> dict[str, Evaluation]:
    """Evaluate the teachers, averaged, on each evaluated corpus that they answer; of one that they answer in part, only
    their F1 on that part is printed.

    `pieces_of` counts the subwords of token F1.

    Raises:
        UserError: the F1 on the development data is below `args.min_teacher_f1`.
    """
    evaluations: dict[str, Evaluation] = {}
    f1 = None
    for name, corpus in corpora.evaluated().items():
        logits, whole = read_signals(stores[name]), len(corpus)
        answered = [row for row, scores in enumerate(logits) if not np.isnan(scores).any()]
        corpus = corpus.select(answered)
        if not known_types(corpus):
            continue
        counts = count([logits[row] for row in answered], corpus["tags"], corpora.tags, word_pieces(corpus, pieces_of))
        scores = counts.scores()
        f1 = scores["f1"] if name == "eval" else f1
        if len(corpus) < whole:
            print_main(f"answers cover {len(corpus):,} of the {whole:,} {name} sentences, with F1 {scores['f1']:.4f}")
            continue
        calibration = evaluations["eval"].calibration if "eval" in evaluations else None
        evaluations[name] = make_evaluation(scores, counts, corpus["tags"], calibration)
    if f1 is None:
        print_main("no answer is about a mention of the development data: how good the answers are is not known")
    elif f1 < args.min_teacher_f1 and not any(isinstance(store.teacher, Teacher) for store in stores["eval"]):
        raise UserError(
            f"The F1 of the answers on the development data is {f1:.3f}, below --min_teacher_f1 {args.min_teacher_f1}. "
            "Likely causes: other mentions than those of the corpora are meant, or scores are no probabilities "
            "(--annotation_confidence)."
        )
    elif f1 < args.min_teacher_f1:
        raise UserError(
            f"The teacher's F1 on the development data is {f1:.3f}, below --min_teacher_f1 {args.min_teacher_f1}. "
            "Likely causes: its labels are in another order (--teacher_labels), its weights are not those of a "
            "fine-tuned token classifier (--teacher_checkpoint, --do_train_teacher), or its tokenizer is not the one "
            "that it was trained with (cased or not)."
        )
    return evaluations


def make_evaluation(
    scores: dict[str, float],
    counts: Counts,
    references: Sequence[Sequence[str]],
    calibration: Calibration | None = None,
) -> Evaluation:
    """A model's scores on a corpus, with intervals, and those of its mentions (`calibrate`)."""
    found = calibrate(counts, references, calibration)
    errors = dict(zip(("ece", "ece_by_chance"), found.error, strict=True)) if found.error else {}
    return Evaluation(scores | counts.intervals() | errors, counts.predictions, found.scores, found.calibration)


def evaluate_student(
    trainer: DistillationTrainer, student: Student, corpora: Corpora, teachers: Sequence[Teacher]
) -> dict[str, Evaluation]:
    """Evaluate the trained student on each evaluated corpus, and write into its configuration what its scores are
    calibrated with, which is fitted on the development data.
    """
    pieces = teachers[0].tokenizer if teachers else student.tokenizer
    evaluations: dict[str, Evaluation] = {}
    for name, corpus in corpora.evaluated().items():
        with PartialState().main_process_first():
            encoded = encode_dataset(
                corpus,
                student.tokenizer,
                student.max_length,
                student.tags,
                piece_tokenizer=pieces,
                by_length=True,
                feature_rows=word_feature_rows(student.model.config),
            )
        output = trainer.predict(encoded, metric_key_prefix=name)
        assert output.metrics is not None  # the rows have labels
        scores = {key.removeprefix(f"{name}_"): value for key, value in output.metrics.items()}
        calibration = evaluations["eval"].calibration if evaluations else None
        evaluations[name] = make_evaluation(scores, trainer.counts, corpus["tags"], calibration)
    student.model.config.score_calibration = evaluations["eval"].calibration._asdict()
    return evaluations


def choose_thresholds(student: Student, evaluation: Evaluation, corpora: Corpora, precisions: Sequence[float]) -> None:
    """Choose thresholds on the development data, and write them into the student's configuration.

    Those that it has are for the scores of another calibration.
    """
    if getattr(student.model.config, "thresholds", None) and not precisions:
        logger.warning("The student's thresholds are left out: --target_precision chooses new ones.")
    mentions = collect_mentions(evaluation.predictions, evaluation.mention_scores, corpora.eval["tags"])
    types = entity_types(corpora.tags)
    student.model.config.thresholds = {
        f"{precision:g}": {entity: choose_threshold(mentions.of_type(entity), precision) for entity in types}
        for precision in precisions
    }
    if precisions:
        header, *rows = threshold_rows(mentions, student.model.config.thresholds)
        print_main(f"\nThresholds on the scores of mentions (development data):\n{format_table(header, rows)}\n")


def save_results(student: Student, args: DistillationArguments, corpora: Corpora, results: Results) -> None:
    """Write the student, `all_results.json` and `predictions_*.tsv` to the output directory (main process only)."""
    if not PartialState().is_main_process:
        return
    folder = Path(args.output_dir)
    save_model(student.model, student.tokenizer, folder)
    for name, corpus in corpora.evaluated().items():
        columns = [corpus["tokens"], corpus["tags"]]
        for model in ("teacher", "student"):
            if evaluation := results.evaluations.get(model, {}).get(name):
                columns += [evaluation.predictions, _score_column(evaluation)]
            else:
                columns += 2 * [[["-"] * len(tags) for tags in corpus["tags"]]]
        write_columns(folder / f"predictions_{name}.tsv", *columns)
    write_json(folder / RESULTS_NAME, results.to_dict())
    record(folder, [RESULTS_NAME])


def _score_column(evaluation: Evaluation) -> list[list[str]]:
    """The score of each mention at its first word, "-" at all other words."""
    column = [["-"] * len(tags) for tags in evaluation.predictions]
    for cells, tags, scores in zip(column, evaluation.predictions, evaluation.mention_scores, strict=True):
        for (_, first, _), score in zip(spans(tags), scores, strict=True):
            cells[first] = f"{score:.4f}"
    return column


def log_results(trainer: DistillationTrainer, results: Results) -> None:
    """Print the table of results, and send it with all scores to the trackers of `--report_to`."""
    table = result_table(results, trainer.args)
    print_main(table)
    if trainer.args.report_to:
        # Indented, Markdown leaves a table alone.
        trainer.log(results.to_dict() | {"results": textwrap.indent(table, "    ")})


def result_table(results: Results, args: DistillationArguments) -> str:
    """The scores of teacher, baseline and student, on each evaluated corpus."""
    name = "student, distilled" if args.distillation else "student, labels alone"
    name = name if args.do_train else "student"
    models = {"teacher": "teacher", "baseline": "student, labels alone", "student": name}
    rows = [
        [f"{title} ({corpus})", *score_cells(results.scores(model, corpus))]
        for corpus in EVALUATED
        for model, title in models.items()
        if results.scores(model, corpus)
    ]
    return "\n" + format_table(["", *SCORE_HEADER], rows) + "\n"


def training_figures(student: Student, corpora: Corpora, args: DistillationArguments) -> dict[str, float]:
    """The sizes of the student and, if it is trained, of its training data."""
    figures: dict[str, float] = {"parameters": student.model.num_parameters()}
    if not args.do_train:
        return figures
    text = corpora.training_text(unlabeled=args.distillation)
    return figures | {
        "train_sentences": len(text),
        "train_words": word_count(text),
        "train_mentions": sum(mention_counts(text).values()),
    }


def finish(
    trainer: DistillationTrainer,
    student: Student,
    arguments: RunArguments,
    corpora: Corpora,
    teachers: Sequence[Teacher],
    results: Results,
) -> None:
    """Measure and export the evaluated student, write its card and the report, and publish it."""
    args, trust_remote_code = arguments.training, arguments.model.trust_remote_code
    folder = Path(args.output_dir)
    if PartialState().is_main_process:
        if args.measure_time:
            models = {"teacher": teachers} if teachers else {}
            report = measure(models | {"student": [student]}, corpora.eval["tokens"], args.device, trust_remote_code)
            print_main(benchmark_table(report) + "\n")
        if args.export:
            results.figures |= _export(student, args, corpora, trust_remote_code)
            write_json(folder / RESULTS_NAME, results.to_dict())
            record(folder, [RESULTS_NAME, f"onnx/{MODEL_NAME}", f"onnx/{QUANTIZED_NAME}"])
        if args.measure_time:
            if args.export:
                report["exported"] = measure_exported(folder, corpora.eval["tokens"])
                print_main(exported_table(report["exported"]) + "\n")
            write_json(folder / "benchmark.json", report)
            record(folder, ["benchmark.json"])
        if student.model.config.model_type != "bilstm":  # which transformers' own pipeline cannot run
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
            saved = dataclasses.replace(_saved(student, folder, trust_remote_code), tokenizer=tokenizer)
            results.figures |= _compare_pipelines(saved, corpora)
            write_json(folder / RESULTS_NAME, results.to_dict())
            record(folder, [RESULTS_NAME])
        write_run(folder / "run.yaml", arguments)
        record(folder, ["run.yaml"])
        write_card(folder, arguments, corpora, results)
        write_report([folder], folder / "report.html")
    print_main(_what_next(folder, bool(args.export)))
    if args.push_to_hub:
        published = trainer.push_to_hub("The student, its results and how it was made")
        if isinstance(published, CommitInfo):  # on the main process
            pinned = f'pipeline(model="{args.hub_model_id}", revision="{published.oid}", trust_remote_code=True)'
            print_main(f"Published: {published.commit_url}\nTo load it, its code too, as it is now: {pinned}")
    trainer.accelerator.end_training()


def _what_next(folder: Path, exported: bool) -> str:
    """Where the student is, what to look at, and how to use it, in a shell and in Python."""
    name = shlex.quote(str(folder))
    load = f"pipeline(model={str(folder)!r}, trust_remote_code=True)"
    line = f"from transformers import pipeline; print({load}('a text'))"
    if exported:  # which takes neither PyTorch nor transformers
        line = f"from hf_distill import Tagger; print(Tagger.from_pretrained({str(folder)!r})('a text'))"
    return (
        f"Student, results and predictions: {folder}\n"
        f"Look at:    {folder / 'report.html'}\n"
        f"Tag files:  {COMMAND} predict {name} --input texts.txt --output mentions.jsonl\n"
        f"In Python:  {line}"
    )


def _saved(student: Student, folder: Path, trust_remote_code: bool) -> Student:
    """The saved student, because accelerate has put its autocast into the forward of the trained one."""
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=trust_remote_code)
    return Student(model, student.tokenizer, student.max_length, student.tags)


def _compare_pipelines(student: Student, corpora: Corpora) -> dict[str, float]:
    f1 = compare_pipelines(student, corpora.eval)
    stock = ", ".join(f"{name} {f1[name]:.4f}" for name in STRATEGIES)
    print_main(f"F1 on running text: its own pipeline {f1['own']:.4f}; transformers' by aggregation_strategy: {stock}")
    return {f"{name}_pipeline_f1": value for name, value in f1.items()}


def _export(
    student: Student, args: DistillationArguments, corpora: Corpora, trust_remote_code: bool
) -> dict[str, float]:
    folder = Path(args.output_dir)
    saved = _saved(student, folder, trust_remote_code)
    report = export_onnx(saved, folder, corpora.eval["tokens"], corpora.eval["tags"], args.int8)
    for name, file in (("onnx", MODEL_NAME), ("int8", QUANTIZED_NAME)):
        size, f1 = report[f"{name}_bytes"] / 1e6, report[f"{name}_f1"]
        print_main(
            f"{folder / 'onnx' / file}: {size:.1f} MB, F1 {f1:.4f} on a CPU with {instruction_set()} "
            f"(PyTorch {report['pytorch_f1']:.4f})"
        )
    return report
