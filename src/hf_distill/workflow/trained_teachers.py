"""Teachers that a run trains itself: encoders that are fine-tuned, and small students that help to teach."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..data.corpora import Corpora
from ..data.job import describe_job, reserve_output_dir
from ..evaluation.calibration import calibrate
from ..evaluation.scores import RESULTS_NAME
from ..files import changed_files, read_json, record, write_json
from ..presets import BILSTM_LOSS, SMALL_BILSTM, SMALL_BILSTM_TRAINING
from ..runtime.tags import UserError
from ..students.save import save_model
from ..students.student import Student
from ..teachers.annotations import StoredAnswers
from ..teachers.signals import SignalStore
from ..teachers.teacher import Teacher, load_teacher
from ..training.trainer import DistillationTrainer
from ..training_arguments import DistillationArguments, RunArguments
from .preparation import print_main
from .stages import Encoder, build, has_its_weights, reserve_with_tokenizer, say_what_words_are, train

logger = logging.get_logger(__name__)

TEACHER_BATCH = 32  # sentences per device, at most: an encoder needs more memory than a student
COMPANION_LAG = 0.1  # how far below the teachers' F1 that of a companion may be


def train_companions(
    arguments: RunArguments,
    corpora: Corpora,
    teachers: Sequence[Teacher],
    answers: Sequence[StoredAnswers],
    stores: Sequence[SignalStore],
    teacher_f1: float,
) -> tuple[list[Teacher], dict[str, float]]:
    """Train `--companions` small students on what the teachers say of the training text, or reuse what an earlier run
    made of the same.

    Each has a seed of its own and is kept in `output_dir`/companion-N.

    Returns:
        The companions as teachers, and the F1 of each on the development data (`companion_1_eval_f1`, ...).

    Raises:
        UserError: the F1 of one on the development data is more than `COMPANION_LAG` below `teacher_f1`.
    """
    companions, scores = [], {}
    own_arguments = [companion_arguments(arguments, number + 1) for number in range(arguments.training.companions)]
    tokenizers = [reserve_with_tokenizer(own, corpora, [], teachers, answers) for own in own_arguments]
    for number, (own, tokenizer) in enumerate(zip(own_arguments, tokenizers, strict=True), 1):
        folder = Path(own.training.output_dir)
        if not _is_finished(folder):
            print_main(f"companion {number} of {arguments.training.companions}: {folder}")
            student = build(own, corpora, tokenizer, teachers)
            trainer = train(student, own.training, corpora, teachers, stores)
            _keep(trainer, student.tokenizer, folder, corpora)
        f1 = read_json(folder / RESULTS_NAME)["eval_f1"]
        print_main(f"companion {number} of {arguments.training.companions}: F1 {f1:.4f} on the development data")
        if f1 < teacher_f1 - COMPANION_LAG:
            raise UserError(
                f"{folder} has an F1 of {f1:.3f} on the development data, the teacher {teacher_f1:.3f}: it would teach "
                "more errors than it mends. It needs more text: give more of --path_to_unlabeled, or leave out "
                "--companions."
            )
        companions.append(_as_teacher(folder, arguments, corpora))
        scores[f"companion_{number}_eval_f1"] = f1
    return companions, scores


def companion_arguments(arguments: RunArguments, number: int) -> RunArguments:
    """The arguments of a companion: those of recipe_small.yaml, with the run's teachers, corpora and unlabelled text,
    whatever the run's own student is.
    """
    model, _, args, _ = arguments
    new: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(model)}
    student = "student_model_name_or_path student_checkpoint tokenizer_name prune_vocabulary classifier_size n_layers"
    names = student.split()
    fresh = {name: new[name] for name in names} | {"student_layers": [], "model_name": "bilstm"} | SMALL_BILSTM
    model = dataclasses.replace(model, **fresh)
    steps = (
        "temperature max_steps eval_steps save_steps warmup_steps "
        "lr_scheduler_type lr_scheduler_kwargs early_stopping_patience gradient_accumulation_steps"
    )
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(args)}
    training = dataclasses.replace(
        args,
        **{name: defaults[name] for name in steps.split()},
        **BILSTM_LOSS,
        **SMALL_BILSTM_TRAINING,
        eval_strategy="no" if args.eval_strategy == "no" else "epoch",
        save_strategy="no" if args.save_strategy == "no" else "epoch",
        save_total_limit=1,
        output_dir=str(Path(args.output_dir) / f"companion-{number}"),
        seed=args.seed + number,
        companions=0,
        do_train_teacher=False,
        do_train_baseline=False,
        push_to_hub=False,
    )
    return arguments._replace(model=model, training=training)


def train_teachers(encoders: list[Encoder], arguments: RunArguments, corpora: Corpora) -> list[Teacher]:
    """Fine-tune encoders on the training data, or reuse what an earlier run made of the same.

    Each has a seed of its own, so that one encoder may be given several times. They are taken from the list, to free
    their memory; the teachers are kept in `teacher_folders`, and come back on the run's device.
    """
    teachers = []
    for number, folder in enumerate(teacher_folders(arguments.training, len(encoders))):
        teachers.append(_train_teacher(encoders.pop(0), folder, arguments, corpora, arguments.training.seed + number))
        f1 = read_json(folder / RESULTS_NAME)["eval_f1"]
        print_main(f"teacher {folder}: F1 {f1:.4f} on the development data")
    return teachers


def teacher_folders(args: DistillationArguments, count: int) -> list[Path]:
    """Where the teachers lie that a run fine-tunes: `output_dir`/teacher, teacher-2, teacher-3, ..."""
    return [
        Path(args.output_dir) / ("teacher" if number == 1 else f"teacher-{number}") for number in range(1, count + 1)
    ]


def _train_teacher(encoder: Encoder, folder: Path, arguments: RunArguments, corpora: Corpora, seed: int) -> Teacher:
    data = arguments.data
    args = _teacher_arguments(arguments.training, folder, seed)
    labelled = dataclasses.replace(corpora, test=None, unlabeled=None, augmented=None)
    with PartialState().main_process_first():
        job = describe_job([args], labelled.datasets(), [encoder.digest])
        reserve_output_dir(folder, job | {"max_seq_length": data.max_seq_length})
    if not _is_finished(folder):
        say_what_words_are(encoder.model, corpora)
        classifier = Student.with_limit(encoder.model, encoder.tokenizer, corpora.tags, data.max_seq_length)
        _keep(train(classifier, args, labelled), encoder.tokenizer, folder, labelled)
    return _as_teacher(folder, arguments, corpora)


def _teacher_arguments(args: DistillationArguments, folder: Path, seed: int) -> DistillationArguments:
    """The training arguments of `--do_train_teacher`: what is about the student has its default."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(DistillationArguments)}
    student_only = (
        "alpha logit_loss temperature sequence_loss_weight embedding_loss_weight hidden_loss_weight "
        "attention_loss_weight max_steps eval_steps save_steps lr_scheduler_kwargs early_stopping_patience"
    )
    return dataclasses.replace(
        args,
        **{name: defaults[name] for name in student_only.split()},
        output_dir=str(folder),
        seed=seed,
        distillation=False,
        # Label smoothing makes a teacher's outputs less informative (Müller et al. 2019, arXiv 1906.02629).
        label_smoothing_factor=0.0,
        per_device_train_batch_size=min(args.per_device_train_batch_size, TEACHER_BATCH),
        learning_rate=args.teacher_learning_rate,
        num_train_epochs=args.teacher_num_train_epochs,
        warmup_steps=0.1,
        lr_scheduler_type="linear",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        do_train=True,
        push_to_hub=False,
    )


def _is_finished(folder: Path) -> bool:
    """Whether a folder holds a trained teacher, as it was written."""
    with PartialState().main_process_first():
        finished = (folder / RESULTS_NAME).exists()
        if finished and (not has_its_weights(folder) or changed_files(folder)):
            logger.warning(f"{folder}: files are missing or changed: it is trained anew.")
            (folder / RESULTS_NAME).unlink()
            finished = False
    if finished:
        logger.warning(f"Reusing {folder}: models, data and arguments are the same.")
    return finished


def _keep(trainer: DistillationTrainer, tokenizer: PreTrainedTokenizerBase, folder: Path, corpora: Corpora) -> None:
    """Evaluate, calibrate and save what has been trained."""
    metrics = trainer.evaluate()
    calibration = calibrate(trainer.counts, corpora.eval["tags"]).calibration
    trainer.student.config.score_calibration = calibration._asdict()
    if trainer.is_world_process_zero():
        save_model(trainer.student, tokenizer, folder)
        write_json(folder / RESULTS_NAME, metrics)
        record(folder, [RESULTS_NAME])
    trainer.accelerator.wait_for_everyone()


def _as_teacher(folder: Path, arguments: RunArguments, corpora: Corpora) -> Teacher:
    """Load what has been trained, on the run's device."""
    teacher = load_teacher(
        str(folder),
        corpora.tags,
        max_seq_length=arguments.data.max_seq_length,
        trust_remote_code=arguments.model.trust_remote_code,
    )
    teacher.model.to(arguments.training.device)  # type: ignore[arg-type]  # transformers' decorator hides self
    return teacher
