"""A whole run: load, label, train, evaluate, save."""

import dataclasses
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from datasets import Dataset
from transformers.utils import logging

from ..arguments import LEARNING_RATES, DataArguments, DistillationArguments, ModelArguments
from ..data.corpora import EVALUATED, load_corpora, training_text, write_augmented
from ..data.job import describe_job, reserve_output_dir
from ..data.statistics import describe, known_types, mention_counts, word_count
from ..evaluation.cost import benchmark_table
from ..files import format_table, write_json
from ..publishing.hub import create_repository, write_run
from ..publishing.model_card import write_card
from ..publishing.onnx_export import check_onnx_installed, instruction_set
from ..publishing.report import write_report
from ..publishing.tables import SCORE_HEADER, score_cells
from ..runtime.onnx_model import MODEL_NAME, QUANTIZED_NAME
from ..runtime.tags import UserError, make_tags
from ..students.build import check_parts
from ..teachers.signals import SignalStore
from ..teachers.teacher import Teacher, estimate_seconds
from ..training.trainer import DistillationTrainer, check_processes
from .results import compare, evaluate_student, evaluate_teachers, export_student, measure_time, save_results
from .stages import (
    load_encoder,
    load_student_tokenizer,
    load_teachers,
    make_stores,
    teacher_scheme,
    train_student,
    train_teacher,
)


def run(model_args: ModelArguments, data_args: DataArguments, args: DistillationArguments) -> None:
    """One run, from corpora and teacher to an evaluated student in `args.output_dir`."""
    prepare(model_args, args)
    if data_args.tag_scheme is None:
        live = args.intermediate_losses and not args.do_train_teacher
        data_args.tag_scheme = teacher_scheme(model_args) if live else "IOBES"
    corpora = load_corpora(data_args, args.seed)
    if args.push_to_hub and PartialState().is_main_process:
        create_repository(args)
    tags = make_tags(known_types(corpora["train"]), data_args.tag_scheme)

    teachers: list[Teacher] = []
    if args.do_train_teacher:
        encoder = load_encoder(model_args, tags, args.seed)
        fingerprints = [encoder.digest]
    elif args.distillation or model_args.embedding_type != "train" or model_args.student_layers:
        teachers = load_teachers(model_args, data_args, tags)
        fingerprints = [teacher.fingerprint() for teacher in teachers]
    else:
        fingerprints = []
    if teachers or args.do_train_teacher:
        check_parts(model_args, (encoder if args.do_train_teacher else teachers[0]).model.config)
    if args.do_train or not args.do_train_teacher:
        with PartialState().main_process_first():
            reserve_output_dir(args.output_dir, describe_job([model_args, data_args, args], corpora, fingerprints))
            vocabulary = Path(args.output_dir) / "tokenizer"
            tokenizer = load_student_tokenizer(model_args, teachers, training_text(corpora), vocabulary)
    if data_args.save_augmented:
        write_augmented(data_args, corpora)
    for teacher in teachers:
        teacher.model.to(args.device)
    print_main(summary(corpora, tags, args))

    if args.do_train_teacher:
        teachers = [train_teacher(encoder, model_args, data_args, args, tags, corpora)]
        teachers[0].model.to(args.device)
        if not args.do_train:
            return
    results: dict[str, float] = {}
    teacher_predictions: dict[str, list[list[str]]] = {}
    baseline_predictions: dict[str, list[list[str]]] = {}
    stores: dict[str, list[SignalStore]] = {}
    if args.distillation:
        stores = make_stores(teachers, corpora, args)
        print_main(signal_summary(stores, args))
        results, teacher_predictions = evaluate_teachers(teachers, corpora, tags, args, stores)

    if args.do_train_baseline:
        # It takes nothing from the teacher, its embeddings and layers included.
        alone = dataclasses.replace(model_args, embedding_type="train", student_layers=[])
        baseline_args = dataclasses.replace(
            args,
            distillation=False,
            output_dir=str(Path(args.output_dir) / "baseline"),
            do_train_baseline=False,
            push_to_hub=False,
        )
        trainer = train_student(alone, data_args, baseline_args, corpora, tags, tokenizer, teachers, stores)
        scores, baseline_predictions = evaluate_student(trainer, corpora, data_args, teachers)
        save_results(trainer, corpora, scores, baseline_predictions, teacher_predictions)
        results |= {f"baseline_{name}": value for name, value in scores.items()}

    trainer = train_student(model_args, data_args, args, corpora, tags, tokenizer, teachers, stores)
    scores, predictions = evaluate_student(trainer, corpora, data_args, teachers)
    results |= compare(corpora, predictions, teacher_predictions, "teacher")
    results |= compare(corpora, predictions, baseline_predictions, "baseline")
    text = training_text(corpora, args.distillation)
    results |= scores | {
        "parameters": trainer.student.num_parameters(),
        "train_sentences": len(text),
        "train_words": word_count(text),
        "train_mentions": sum(mention_counts(text).values()),
    }
    save_results(trainer, corpora, results, predictions, teacher_predictions)
    table = result_table(results, args)
    print_main(table)
    if args.report_to:
        trainer.log(results | {"results": textwrap.indent(table, "    ")})  # indented, Markdown leaves a table alone
    finish(trainer, model_args, data_args, args, corpora, teachers, results)


def finish(
    trainer: DistillationTrainer,
    model_args: ModelArguments,
    data_args: DataArguments,
    args: DistillationArguments,
    corpora: Mapping[str, Dataset],
    teachers: Sequence[Teacher],
    results: dict[str, float],
) -> None:
    """Measure and export the evaluated student, write what tells of the run, and publish it."""
    folder = Path(args.output_dir)
    if args.measure_time and PartialState().is_main_process:
        report = measure_time(trainer, corpora, data_args, teachers, model_args.trust_remote_code)
        write_json(folder / "benchmark.json", report)
        print_main(benchmark_table(report) + "\n")
    if args.export and PartialState().is_main_process:
        report = export_student(trainer, corpora, data_args, model_args.trust_remote_code)
        results |= report
        write_json(folder / "all_results.json", dict(sorted(results.items())))
        for name, file in (("onnx", MODEL_NAME), ("int8", QUANTIZED_NAME)):
            size, f1 = report[f"{name}_bytes"] / 1e6, report[f"{name}_f1"]
            print_main(
                f"{folder / 'onnx' / file}: {size:.1f} MB, F1 {f1:.4f} on a CPU with {instruction_set()} "
                f"(PyTorch {report['pytorch_f1']:.4f})"
            )
    if PartialState().is_main_process:
        write_run(folder / "run.yaml", [model_args, data_args, args])
        write_card(folder, model_args, data_args, args, corpora, trainer.tags, results)
        write_report([folder], folder / "report.html")
    print_main(f"Student, results and predictions: {folder} (to look at: report.html)")
    if args.push_to_hub:
        published = trainer.push_to_hub("The student, its results and how it was made")
        if published:
            print_main(f"Published: {published.commit_url}")
    trainer.end()


def prepare(model_args: ModelArguments, args: DistillationArguments) -> None:
    """Settle what depends on both groups of arguments, and the number of threads."""
    if not args.output_dir:
        args.output_dir = str(Path("outputs") / "-".join(filter(None, [model_args.model_name, args.comment])))
    if args.learning_rate is None:
        args.learning_rate = LEARNING_RATES[model_args.model_name]
    for name in ("embedding", "hidden", "attention"):
        if getattr(args, f"{name}_loss_weight") is None:
            setattr(args, f"{name}_loss_weight", 1.0 if model_args.model_name == "tinybert" else 0.0)
    check_processes(args)
    trained = model_args.student_model_name_or_path or model_args.student_checkpoint
    if not args.do_train and not args.do_train_teacher and not trained:
        raise UserError(
            "--do_train 0 evaluates a trained student: give --student_model_name_or_path or --student_checkpoint."
        )
    for name in ("measure_time", "export", "push_to_hub"):
        if getattr(args, name) and args.do_train_teacher and not args.do_train:
            raise UserError(f"--{name} is about a student, and --do_train 0 stops before there is one.")
    if model_args.vocabulary_size and args.intermediate_losses:
        raise UserError(
            "Embedding, hidden-state and attention losses need one tokenizer for teacher and student: leave out "
            "--vocabulary_size, or set --embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight to 0."
        )
    if args.export:
        check_onnx_installed()
    if PartialState().is_main_process:
        logging.set_verbosity_warning()
    else:
        logging.set_verbosity_error()
    if args.disable_tqdm or not PartialState().is_main_process:
        logging.disable_progress_bar()
        datasets.disable_progress_bars()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if args.device.type == "cpu" and args.world_size == 1 and launched and torch.get_num_threads() == 1 < cores:
        # accelerate launch sets OMP_NUM_THREADS=1 unless told otherwise, which wastes all other cores.
        torch.set_num_threads(cores)
        print_main(f"accelerate launch allowed one CPU thread; using {cores}. (--cpu lets it count the cores itself.)")


def print_main(text: str) -> None:
    """Print on the main process."""
    if PartialState().is_main_process:
        print(text, flush=True)


def summary(corpora: Mapping[str, Dataset], tags: Sequence[str], args: DistillationArguments) -> str:
    """What is about to happen, before anything expensive does."""
    return "\n".join(
        [
            *(describe(name, dataset) for name, dataset in corpora.items()),
            f"labels: {' '.join(tags)}",
            f"device: {args.device}, {args.world_size} process(es), {torch.get_num_threads()} thread(s) each",
            f"results: {args.output_dir}",
        ]
    )


def signal_summary(stores: Mapping[str, Sequence[SignalStore]], args: DistillationArguments) -> str:
    """How much the teachers still have to label, how long that will take, and where it goes."""
    lines = []
    for own in zip(*stores.values(), strict=True):
        missing = datasets.concatenate_datasets([store.missing for store in own])
        seconds = estimate_seconds(own[0].teacher, missing, args.bf16) / args.world_size if len(missing) else 0
        lines.append(f"teacher: {len(missing):,} sentences to label, about {seconds / 60:.1f} minutes")
    if args.intermediate_losses:
        lines[0] += "; asked again at every training step, for its hidden states"
    return "\n".join([*lines, f"stored signals: {stores['eval'][0].folder.parent}"])


def result_table(results: Mapping[str, float], args: DistillationArguments) -> str:
    """The scores of teacher, baseline and student, on each evaluated corpus."""
    name = "student, distilled" if args.distillation else "student, labels alone"
    models = {"teacher_": "teacher", "baseline_": "student, labels alone", "": name}
    rows = [
        [f"{model} ({corpus})", *score_cells(results, f"{prefix}{corpus}_")]
        for corpus in EVALUATED
        for prefix, model in models.items()
        if f"{prefix}{corpus}_f1" in results
    ]
    return "\n" + format_table(["", *SCORE_HEADER], rows) + "\n"
