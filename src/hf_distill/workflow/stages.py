"""The stages of a run before its results: loading teachers, labelling, training."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from accelerate import PartialState
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..arguments import DataArguments, DistillationArguments, ModelArguments
from ..data.corpora import EVALUATED, training_text
from ..data.encoding import encode_dataset
from ..data.job import describe_job, reserve_output_dir
from ..files import last_whole_checkpoint, write_json
from ..runtime.tags import UserError, detect_scheme, entity_types, model_tags
from ..runtime.windows import window_length
from ..runtime.words import WORDS_THAT_FIT, choose_pattern
from ..students.build import build_student, label_config
from ..students.save import save_model
from ..students.vocabulary import learn_tokenizer
from ..teachers.loading import explain_loading_errors, load_tokenizer, model_digest, resolve_model, same_tokenizer
from ..teachers.signals import SignalStore, attach_signals, default_signals_dir
from ..teachers.teacher import Teacher, load_teacher
from ..training.trainer import DistillationTrainer

logger = logging.get_logger(__name__)


def teacher_scheme(args: ModelArguments) -> str:
    """The tag scheme for a student that asks its teacher at each step: IOB2 if that speaks IOB2, IOBES otherwise."""
    named = [args.teacher_labels] if args.teacher_labels else []
    if not named and not args.teacher_checkpoint:
        for name in args.teacher_model_name_or_path:
            with explain_loading_errors(name):
                config = AutoConfig.from_pretrained(resolve_model(name), trust_remote_code=args.trust_remote_code)
            named.append(model_tags(config) or [])
    return "IOB2" if any(entity_types(tags) and detect_scheme(tags) == "IOB2" for tags in named) else "IOBES"


def load_teachers(args: ModelArguments, data_args: DataArguments, tags: Sequence[str]) -> list[Teacher]:
    """Load every teacher that is named; their labels meet the student's."""
    if not args.teacher_model_name_or_path:
        raise UserError(
            "Distillation needs a teacher: --teacher_model_name_or_path, or --distillation 0 to do without."
        )
    return [
        load_teacher(
            name,
            tags,
            checkpoint=args.teacher_checkpoint,
            labels=args.teacher_labels,
            max_seq_length=data_args.max_seq_length,
            trust_remote_code=args.trust_remote_code,
        )
        for name in args.teacher_model_name_or_path
    ]


@dataclass
class Encoder:
    """A pretrained encoder with a new head, to be fine-tuned into a teacher."""

    model: PreTrainedModel
    path: str
    digest: str


def load_encoder(args: ModelArguments, tags: Sequence[str], seed: int) -> Encoder:
    """Load the encoder that `--do_train_teacher` fine-tunes, with a head for `tags`."""
    if len(args.teacher_model_name_or_path) != 1:
        raise UserError("--do_train_teacher fine-tunes one encoder: give one --teacher_model_name_or_path.")
    if args.teacher_checkpoint:
        raise UserError("--do_train_teacher starts from a pretrained encoder; leave out --teacher_checkpoint.")
    name = args.teacher_model_name_or_path[0]
    set_seed(seed)  # the head's initial weights
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is new goes without saying
    with explain_loading_errors(name):
        path = resolve_model(name)
        config = AutoConfig.from_pretrained(path, trust_remote_code=args.trust_remote_code)
        for field, value in label_config(tags).items():
            setattr(config, field, value)
        model = AutoModelForTokenClassification.from_pretrained(
            path, config=config, ignore_mismatched_sizes=True, trust_remote_code=args.trust_remote_code
        )
    logging.set_verbosity(verbosity)
    return Encoder(model.float(), path, model_digest(model))


def train_teacher(
    encoder: Encoder,
    model_args: ModelArguments,
    data_args: DataArguments,
    args: DistillationArguments,
    tags: Sequence[str],
    corpora: Mapping[str, Dataset],
) -> Teacher:
    """Fine-tune the encoder on the training data, or reuse what an earlier run made of the same.

    It is kept in `args.output_dir`/teacher.
    """
    folder = Path(args.output_dir) / "teacher"
    defaults = {field.name: field.default for field in dataclasses.fields(DistillationArguments)}
    student_only = (
        "alpha logit_loss temperature embedding_loss_weight hidden_loss_weight attention_loss_weight max_steps "
        "eval_steps save_steps lr_scheduler_kwargs early_stopping_patience"
    )
    teacher_args = dataclasses.replace(
        args,
        **{name: defaults[name] for name in student_only.split()},
        output_dir=str(folder),
        distillation=False,
        # A smoothed teacher says less about the labels it does not choose (Müller et al. 2019, arXiv 1906.02629).
        label_smoothing_factor=0.0,
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
    tokenizer = load_tokenizer(encoder.path, model_args.trust_remote_code)
    used = {name: corpora[name] for name in ("train", "eval")}
    with PartialState().main_process_first():
        job = describe_job([teacher_args], used, [encoder.digest])
        reserve_output_dir(folder, job | {"max_seq_length": data_args.max_seq_length})
    if not (folder / "all_results.json").exists():
        length = window_length(tokenizer, encoder.model.config, data_args.max_seq_length)
        trainer = _train(encoder.model, tokenizer, teacher_args, used, tags, length)
        metrics = trainer.evaluate()
        if trainer.is_world_process_zero():
            save_model(trainer.student, tokenizer, folder)
            write_json(folder / "all_results.json", metrics)
        trainer.accelerator.wait_for_everyone()
    else:
        logger.warning(f"Reusing the teacher in {folder}: encoder, data and arguments are the same.")
    return load_teacher(
        str(folder),
        tags,
        max_seq_length=data_args.max_seq_length,
        trust_remote_code=model_args.trust_remote_code,
    )


def _train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    args: DistillationArguments,
    corpora: Mapping[str, Dataset],
    tags: Sequence[str],
    max_length: int,
    teachers: Sequence[Teacher] = (),
    stores: Sequence[SignalStore] = (),
) -> DistillationTrainer:
    """Train a token classifier, going on from the last checkpoint in its output folder if there is one.

    With `stores` the teachers' logits are stored signals; without them, the only teacher is asked at each step.
    """
    folder = Path(args.output_dir)
    finished = (folder / "all_results.json").exists()
    training = args.do_train and not finished
    teacher = teachers[0] if training and teachers and not stores else None
    pieces = teachers[0].tokenizer if teachers else tokenizer
    keep_tokens = teacher is not None and not same_tokenizer(tokenizer, teacher.tokenizer)
    if teacher is not None and not keep_tokens:
        # One tokenizer: the teacher reads the student's windows, so they have to suit both.
        max_length = teacher.max_length = min(max_length, teacher.max_length)
    model.config.word_pattern, whole = choose_pattern(corpora["train"]["tokens"])
    if args.distillation and whole < WORDS_THAT_FIT:
        logger.warning(
            f"{1 - whole:.1%} of the training words have marks in them at which the saved student's pipeline would cut "
            "running text (config.word_pattern): give it lists of words (is_split_into_words=True)."
        )
    with PartialState().main_process_first():
        evaluation = encode_dataset(
            corpora["eval"], tokenizer, max_length, tags, piece_tokenizer=pieces, by_length=True
        )
        train = None
        if training:
            text = training_text(corpora, args.distillation)
            train = encode_dataset(text, tokenizer, max_length, tags, keep_tokens=keep_tokens)
    if training and stores:
        train = attach_signals(stores, train)
    patience = args.early_stopping_patience
    trainer = DistillationTrainer(
        model=model,
        args=args,
        teacher=teacher,
        processing_class=tokenizer,
        train_dataset=train,
        eval_dataset=evaluation,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=patience)] if patience else None,
    )
    if training:
        whole = last_whole_checkpoint(folder)
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint or (str(whole) if whole else None))
        trainer.save_state()
    elif finished:
        # The job ran to its end before: its student is there.
        trainer.student.load_state_dict(safetensors.torch.load_file(folder / SAFE_WEIGHTS_NAME))
    return trainer


def load_student_tokenizer(
    args: ModelArguments, teachers: Sequence[Teacher], text: Dataset, folder: Path
) -> PreTrainedTokenizerBase:
    """The tokenizer that is named, else that of the model the student starts from, else the (first) teacher's; with
    `args.vocabulary_size` one of that kind, learnt from the text and kept in `folder`.

    Raises:
        UserError: none is named, or none can be learnt.
    """
    if args.vocabulary_size and folder.exists():
        return load_tokenizer(str(folder))
    names = [args.tokenizer_name, args.student_model_name_or_path, *args.teacher_model_name_or_path]
    name = next((name for name in names if name), None)
    if teachers and not any(names[:2]):
        tokenizer = teachers[0].tokenizer
    elif name is None:
        raise UserError("The student needs a tokenizer: --tokenizer_name (or a teacher whose tokenizer it can share).")
    else:
        with explain_loading_errors(name):
            tokenizer = load_tokenizer(resolve_model(name), args.trust_remote_code)
    if args.vocabulary_size:
        logger.warning(f"Learning a vocabulary of {args.vocabulary_size:,} subwords from {len(text):,} sentences.")
        tokenizer = learn_tokenizer(tokenizer, text["tokens"], args.vocabulary_size, folder)
    return tokenizer


def train_student(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: DistillationArguments,
    corpora: Mapping[str, Dataset],
    tags: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    teachers: Sequence[Teacher],
    stores: Mapping[str, Sequence[SignalStore]],
) -> DistillationTrainer:
    """Build and train the student; with `args.distillation` off, on the labels alone."""
    set_seed(args.seed)
    source = teachers[0] if teachers else None
    student = build_student(model_args, tags, tokenizer, source, training_text(corpora), new_head=args.do_train)
    max_length = window_length(tokenizer, student.config, data_args.max_seq_length)
    if not args.distillation:
        return _train(student, tokenizer, args, corpora, tags, max_length)
    return _train(student, tokenizer, args, corpora, tags, max_length, teachers, stores.get("train", ()))


def make_stores(
    teachers: Sequence[Teacher], corpora: Mapping[str, Dataset], args: DistillationArguments
) -> dict[str, list[SignalStore]]:
    """For each corpus that the teachers label a store of signals for each teacher: `eval`, maybe `test`, and `train`
    (with the unlabelled text) unless the losses need a live teacher.
    """
    labelled = {name: corpora[name] for name in EVALUATED if name in corpora}
    if args.do_train and not args.intermediate_losses:
        labelled["train"] = training_text(corpora)
    elif args.do_train and any(teacher.iobes_tags for teacher in teachers):
        raise UserError(
            "Asked at every step, for its hidden states, an IOB2 teacher teaches IOB2 students only: use --tag_scheme "
            "IOB2, or set --embedding_loss_weight, --hidden_loss_weight and --attention_loss_weight to 0."
        )
    elif args.do_train and len(teachers) > 1:
        raise UserError(
            "Of several teachers only the probabilities are averaged: set --embedding_loss_weight, "
            "--hidden_loss_weight and --attention_loss_weight to 0."
        )
    folder = args.signals_dir or default_signals_dir()
    return {
        name: [SignalStore(teacher, dataset, folder, args.bf16) for teacher in teachers]
        for name, dataset in labelled.items()
    }
