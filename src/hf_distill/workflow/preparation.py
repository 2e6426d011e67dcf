"""Before a run: complete and check its arguments, set up the process."""

import dataclasses
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from transformers.trainer_utils import IntervalStrategy
from transformers.utils import logging

from ..arguments import STUDENT_DEFAULTS, DataArguments, ModelArguments
from ..data.corpora import Corpora
from ..data.statistics import describe, known_types
from ..files import lock, remove_leftovers, temporary_folder
from ..publishing.onnx_export import check_onnx_installed
from ..runtime.tags import UserError
from ..training.checks import check_processes
from ..training_arguments import DistillationArguments, RunArguments


def prepare_arguments(arguments: RunArguments) -> RunArguments:
    """Fill in the defaults that depend on other arguments, and check what concerns several groups of arguments.

    Raises:
        UserError: arguments contradict each other, or something that they need is not installed.
    """
    model, data, args, _ = arguments
    args = args.with_student_defaults(model.model_name, not data.path_to_annotations)
    if not args.output_dir:
        name = "-".join(filter(None, [model.model_name, args.comment]))
        args = dataclasses.replace(args, output_dir=str(Path("outputs") / name))
    if not (data.path_to_train or data.dataset_name):
        args = dataclasses.replace(args, alpha=0.0)  # there are no labels to have a share of the loss
    _check(model, data, args)
    return arguments._replace(training=args)


def _check(model: ModelArguments, data: DataArguments, args: DistillationArguments) -> None:
    check_processes(args)
    _check_annotations(model, data, args)
    trained = model.student_model_name_or_path or model.student_checkpoint
    if not args.do_train and not args.do_train_teacher and not trained:
        raise UserError(
            "--do_train 0 evaluates a trained student: give --student_model_name_or_path or --student_checkpoint."
        )
    if model.model_name == "bilstm" and args.intermediate_losses:
        raise UserError(
            "--embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight are for transformer students, "
            "not for a bilstm: leave them out."
        )
    if model.prune_vocabulary and args.intermediate_losses:
        raise UserError(
            "--embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight need one vocabulary for teacher "
            "and student: set them to 0, or leave out --prune_vocabulary."
        )
    if args.intermediate_losses and len(model.teacher_model_name_or_path) > 1:
        raise UserError(
            "Of several teachers only the probabilities are averaged: set --embedding_loss_weight, "
            "--hidden_loss_weight and --attention_loss_weight to 0."
        )
    if args.do_train_teacher and args.do_train and not (args.distillation or model.teacher_parts):
        raise UserError(
            "--do_train_teacher fine-tunes a teacher of which nothing is taken with --distillation 0: leave one out."
        )
    if args.do_train and model.n_stacks > args.per_device_train_batch_size:
        raise UserError(
            f"Each sentence is read by one of --n_stacks {model.n_stacks}, so that a batch needs as many: give a "
            f"larger --per_device_train_batch_size than {args.per_device_train_batch_size}, or fewer stacks."
        )
    if args.companions and not (args.do_train and args.distillation and not args.intermediate_losses):
        raise UserError(
            "--companions help to teach by stored probabilities: it needs --do_train 1 and --distillation 1, with "
            "--embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight 0."
        )
    if args.companions and not model.teacher_model_name_or_path:
        raise UserError("--companions help a teacher, and answers alone are none: leave it out, or give a teacher.")
    if args.do_train_baseline and not (args.do_train and args.distillation):
        raise UserError(
            "--do_train_baseline compares a distilled student with one that learns from the labels alone: it needs "
            "--do_train 1 and --distillation 1."
        )
    if args.do_train_baseline and model.student_layers:
        raise UserError(
            "--do_train_baseline trains the same student without the teacher's weights; with --student_layers there is "
            "no such student. Leave it out, and for comparison run once more with --distillation 0."
        )
    for name in ("measure_time", "export", "push_to_hub"):
        if getattr(args, name) and args.do_train_teacher and not args.do_train:
            raise UserError(f"--{name} is about a student, and --do_train 0 stops before there is one.")
    if model.vocabulary_size and args.intermediate_losses:
        raise UserError(
            "Embedding, hidden-state and attention losses need one tokenizer for teacher and student: leave out "
            "--vocabulary_size, or set --embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight to 0."
        )
    if args.export:
        check_onnx_installed()


def _check_annotations(model: ModelArguments, data: DataArguments, args: DistillationArguments) -> None:
    if not data.path_to_annotations:
        if model.annotation_confidence is not None:
            raise UserError("--annotation_confidence is that of --path_to_annotations, which is missing.")
        return
    if not args.distillation:
        raise UserError("--path_to_annotations is learnt from by distillation: leave out it or --distillation 0.")
    if args.intermediate_losses:
        raise UserError(
            "--path_to_annotations has no hidden states to learn from: set --embedding_loss_weight, "
            "--hidden_loss_weight and --attention_loss_weight to 0."
        )
    if (data.path_to_unlabeled or data.unlabeled_dataset) and not model.teacher_model_name_or_path:
        raise UserError(
            "Text without answers needs a teacher: leave out --path_to_unlabeled (the texts of --path_to_annotations "
            "need not be given again), or give --teacher_model_name_or_path."
        )
    if model.teacher_parts and not model.teacher_model_name_or_path:
        raise UserError(
            f"{model.teacher_parts[0]} takes parts of a teacher, and answers are none. For word embeddings name an "
            "encoder, --embeddings_from, or learn new ones, --embedding_type train."
        )
    if not (data.path_to_train or data.dataset_name):
        for name in ("do_train_teacher", "do_train_baseline"):
            if getattr(args, name):
                raise UserError(f"--{name} takes labelled sentences: give --path_to_train, or leave it out.")


def check_metric(args: DistillationArguments, corpora: Corpora) -> None:
    """Check that the development data gives a value for `--metric_for_best_model`.

    Raises:
        UserError: it is no score, or that of an entity type without mentions in the development data.
    """
    types = known_types(corpora.eval)
    scores = ["loss", "precision", "recall", "f1", "f1_argmax", "token_f1"]
    scores += [f"{entity}_{name}" for entity in types for name in ("precision", "recall", "f1")]
    metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
    if args.do_train and args.eval_strategy != "no" and metric not in scores:
        raise UserError(
            f"--metric_for_best_model {metric} is not measured on the development data, which has mentions of "
            f"{', '.join(types)}. Measured are {', '.join(scores)}."
        )


def baseline_arguments(arguments: RunArguments, corpora: Corpora) -> RunArguments:
    """The arguments of a student that takes nothing from the teacher, its embeddings included.

    It learns for as many steps as the other, is evaluated as often, and reads labelled sentences so much more often.
    """
    args = arguments.training
    epochs, more = args.num_train_epochs, dict[str, Any]()
    readings = len(corpora.training_text(unlabeled=True)) / len(corpora.training_text(unlabeled=False))
    if readings > 1 and args.eval_strategy == IntervalStrategy.EPOCH:
        share = 1 / max(2, round(epochs))  # below 1: of all steps
        more = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": share, "save_steps": share}
    args = dataclasses.replace(
        args,
        **more,
        num_train_epochs=epochs * readings,
        distillation=False,
        output_dir=str(Path(args.output_dir) / "baseline"),
        do_train_baseline=False,
        push_to_hub=False,
    )
    return arguments._replace(model=dataclasses.replace(arguments.model, embedding_type="train"), training=args)


@contextmanager
def lock_output(folder: str) -> Iterator[None]:
    """Hold the output directory for this run, on its main process, and clear away what a killed one left there.

    Raises:
        UserError: another run is writing there, or it is a file.
    """
    if not PartialState().is_main_process:
        yield
        return
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise UserError(f"--output_dir {folder} is a file; give the name of a folder.")
    kept = [path / name for name in ("onnx", "teacher", "baseline", "tokenizer")]
    kept += [*sorted(path.glob("teacher-*")), *sorted(path.glob("companion-*"))]
    if links := [each for each in kept if each.is_symlink()]:
        raise UserError(f"{links[0]} is a link; this run would write behind it. Remove it.")
    new = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    with lock(path / ".lock"):
        remove_leftovers(path)
        try:
            yield
        finally:
            if [each.name for each in path.iterdir()] == [".lock"]:  # a run that was refused leaves no folder behind
                (path / ".lock").unlink()
                for each in new:
                    each.rmdir()


def check_shared(option: str, folder: str | Path) -> None:
    """Check that all processes of the run, on whatever machine, write to the same folder.

    Raises:
        UserError: a process has another folder of that name.
    """
    state = PartialState()
    if state.num_processes == 1:
        return
    if state.is_main_process:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) if state.is_main_process else nullcontext() as own:
        [name] = broadcast_object_list([own and own.name])
        shared = gather_object([Path(folder, name).exists()])
    if not all(shared):
        raise UserError(
            f"--{option} {folder}: {shared.count(False)} of {len(shared)} processes have another folder of that name. "
            "Name one that all machines of the run share."
        )


def set_up_process(args: DistillationArguments) -> None:
    """Logging, progress bars and the number of threads of this process."""
    if PartialState().is_main_process:
        logging.set_verbosity_warning()
    else:
        logging.set_verbosity_error()
    if args.disable_tqdm or not PartialState().is_main_process:
        logging.disable_progress_bar()
        datasets.disable_progress_bars()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if args.device.type == "cpu" and args.world_size == 1 and launched and torch.get_num_threads() == 1 < cores:
        # accelerate launch sets OMP_NUM_THREADS=1 unless told otherwise, which wastes all other cores.
        torch.set_num_threads(cores)
        print_main(f"accelerate launch allowed one CPU thread; using {cores}. (--cpu lets it count the cores itself.)")


def print_main(text: str) -> None:
    """Print on the main process."""
    if PartialState().is_main_process:
        print(text, flush=True)


def summary(arguments: RunArguments, corpora: Corpora) -> str:
    """Data, labels and devices of a run, and what it will do."""
    args = arguments.training
    return "\n".join(
        [
            *(describe(name, dataset) for name, dataset in corpora.datasets().items()),
            f"labels: {' '.join(corpora.tags)}",
            f"device: {args.device}, {args.world_size} process(es), {torch.get_num_threads()} thread(s) each",
            f"results: {args.output_dir}",
            "This run (how long labelling and each training will take is said when they begin):",
            *(f"- {stage}" for stage in _stages(arguments, corpora)),
        ]
    )


def _stages(arguments: RunArguments, corpora: Corpora) -> Iterator[str]:
    """What a run will do, in the order of `run`."""
    model, _, args, _ = arguments
    text = len(corpora.training_text(unlabeled=args.distillation))
    names = ", ".join(dict.fromkeys(model.teacher_model_name_or_path))
    count = len(model.teacher_model_name_or_path)
    one = count == 1
    if args.do_train_teacher:
        yield (
            f"fine-tunes {names} into {'a teacher' if one else f'{count} teachers'} on {len(corpora.train):,} labelled "
            f"sentences, in {args.teacher_num_train_epochs:g} epochs"
        )
    if args.do_train_teacher and not args.do_train:
        return
    evaluated = sum(map(len, corpora.evaluated().values()))
    if args.distillation and names:
        teacher = "the teacher" if one else "each teacher"
        labelled = evaluated + (text if args.do_train and not args.intermediate_losses else 0)
        yield f"has {teacher} label {labelled:,} sentences, once; what is stored already is not labelled again"
    if args.companions:
        yield f"trains {args.companions} small student(s) that teach beside the teacher"
    if args.do_train_baseline:
        yield f"trains the same student on {len(corpora.training_text(unlabeled=False)):,} sentences' labels alone"
    if args.do_train:
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * math.ceil(text / batch))
        taught = "the teacher's answers" if one else "the teachers' answers"
        answers = taught if names else "stored answers"
        source = f"{answers} to" if args.distillation else "the labels of"
        reads = f", a stack reads each {steps * batch / text / model.n_stacks:.2g} times" if model.n_stacks > 1 else ""
        yield f"trains the student, {_kind(model)}, on {source} {text:,} sentences, in about {steps:,} steps{reads}"
    last = ["evaluates the student" if args.do_train else "evaluates a trained student"]
    last += ["measures its cost"] * args.measure_time + ["exports it to ONNX"] * bool(args.export)
    last += [f"writes report.html{' and publishes it' * args.push_to_hub}"]
    yield ", ".join(last)


def _kind(args: ModelArguments) -> str:
    """What a student is, and its size."""
    if args.student_model_name_or_path:
        return args.student_model_name_or_path
    if args.student_layers:
        return f"layers {' '.join(map(str, args.student_layers))} of the teacher"
    layers, units = (getattr(args, name) or default for name, default in STUDENT_DEFAULTS[args.model_name].items())
    stacks = f"{args.n_stacks} stacks of " if args.n_stacks > 1 else ""
    return f"a {args.model_name} of {stacks}{layers} x {units}"
