"""The steps of a run before its results: loading models, computing signals, training."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import safetensors.torch
from accelerate import PartialState
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import SAFE_WEIGHTS_NAME, logging

from ..arguments import ModelArguments
from ..data.corpora import Corpora
from ..data.encoding import encode_dataset
from ..data.job import JOB_NAME, describe_job, read_job, reserve_output_dir
from ..data.statistics import find_leaked
from ..data.tag_format import corpus_format
from ..evaluation.scores import RESULTS_NAME
from ..files import changed_files, checkpoints, missing_from_checkpoint, read_manifest
from ..publishing.hub import create_repository
from ..publishing.onnx_export import check_exportable
from ..runtime.tags import OUTSIDE, UserError
from ..runtime.word_features import word_feature_rows
from ..students.build import build_student, check_parts, label_config
from ..students.pruning import check_other_text, prune_vocabulary
from ..students.student import Student
from ..students.vocabulary import learn_tokenizer, plain_tokenizer
from ..teachers.annotations import StoredAnswers, stored_answers
from ..teachers.loading import (
    explain_loading_errors,
    load_config,
    load_tokenizer,
    model_digest,
    own_settings,
    resolve_model,
)
from ..teachers.signals import SignalStore, attach_signals, default_signals_dir
from ..teachers.teacher import Teacher, WordTeacher, estimate_seconds, find_prefix_space, find_scheme, load_teacher
from ..training.checks import check_checkpointing
from ..training.trainer import DistillationTrainer
from ..training_arguments import DistillationArguments, RunArguments
from .preparation import check_shared, print_main
from .progress import show_progress

logger = logging.get_logger(__name__)

TRIED_SENTENCES = 256  # of the development data, to find out how a teacher reads and labels
PROBED_SENTENCES = 1000  # of the training data, to check a tokenizer


@dataclass
class Encoder:
    """A pretrained encoder with a new head, to be fine-tuned into a teacher."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str


def reserve_repository(arguments: RunArguments) -> RunArguments:
    """Create the repository of `--push_to_hub`, before anything expensive, and complete its name."""
    args = arguments.training
    if args.push_to_hub and PartialState().is_main_process:
        args = dataclasses.replace(args, hub_model_id=create_repository(args))
    return arguments._replace(training=args)


def load_models(arguments: RunArguments, corpora: Corpora) -> tuple[list[Encoder], list[Teacher]]:
    """Load the encoders that the run fine-tunes into teachers, or else the teachers; neither where it needs none.

    Raises:
        UserError: a model is missing, does not fit, or lacks the parts that the student is to take over.
    """
    model, args = arguments.model, arguments.training
    encoders, teachers = [], []
    if args.do_train_teacher:
        encoders = _load_encoders(model, corpora, args.seed)
        check_parts(model, encoders[0].model)
        if args.export and model.student_layers:
            check_exportable(encoders[0].model)
    elif (args.distillation or model.teacher_parts) and (model.teacher_model_name_or_path or not corpora.annotations):
        teachers = _load_teachers(arguments, corpora)
        check_parts(model, teachers[0].model)
    return encoders, teachers


def load_answers(arguments: RunArguments, corpora: Corpora) -> list[StoredAnswers]:
    """Make a labeller of each source of annotations, and say what is learnt from whom.

    Raises:
        UserError: the answers are about other entity types than the student.
    """
    if corpora.annotations is None:
        return []
    answers = stored_answers(corpora.annotations, corpora.tags, corpora.eval, arguments.model.annotation_confidence)
    for labeller in answers:
        print_main(f"answers of {labeller.name}: {len(labeller.rows):,} texts")
    if not len(corpora.train):
        print_main("no labelled training data: everything is learnt from these answers, their errors included")
    elif not arguments.model.teacher_model_name_or_path:
        unanswered = (~find_leaked(corpora.train, [corpora.annotations])).sum()
        print_main(f"of the training sentences {unanswered:,} have no answer, and are learnt from their own labels")
    return answers


def _load_teachers(arguments: RunArguments, corpora: Corpora) -> list[Teacher]:
    """Load the teachers, on the run's device; heads with only B- and I- are tried on the development data."""
    model = arguments.model
    if not model.teacher_model_name_or_path:
        raise UserError(
            "Distillation needs a teacher: --teacher_model_name_or_path, or --distillation 0 to do without."
        )
    teachers = [
        load_teacher(
            name,
            corpora.tags,
            checkpoint=model.teacher_checkpoint,
            labels=model.teacher_labels,
            max_seq_length=arguments.data.max_seq_length,
            trust_remote_code=model.trust_remote_code,
            tag_format=dataclasses.replace(corpus_format(arguments.data), scheme=model.teacher_scheme, names=()),
            add_prefix_space=model.add_prefix_space is not False,
            words=probe_words(corpora),
        )
        for name in model.teacher_model_name_or_path
    ]
    for teacher in teachers:
        teacher.model.to(arguments.training.device)  # type: ignore[arg-type]  # transformers' decorator hides self
    tried = _tried_sentences(corpora)
    if model.add_prefix_space is None:
        teachers = [find_prefix_space(teacher, tried, model.trust_remote_code) for teacher in teachers]
    if model.teacher_scheme is None:
        teachers = [find_scheme(teacher, tried["tokens"][:]) for teacher in teachers]
    return teachers


def _tried_sentences(corpora: Corpora) -> Dataset:
    """Development sentences on which a teacher is tried: some with mentions."""
    with_mentions = corpora.eval.filter(lambda tags: any(tag != OUTSIDE for tag in tags), input_columns="tags")
    return with_mentions.select(range(min(TRIED_SENTENCES, len(with_mentions))))


def probe_words(corpora: Corpora) -> set[str]:
    """Words of the training data on which a tokenizer is checked."""
    text = corpora.train if len(corpora.train) else corpora.eval
    return {word for words in text["tokens"][:PROBED_SENTENCES] for word in words}


def _load_encoders(args: ModelArguments, corpora: Corpora, seed: int) -> list[Encoder]:
    if not args.teacher_model_name_or_path:
        raise UserError("--do_train_teacher fine-tunes an encoder: give its name, --teacher_model_name_or_path.")
    if args.teacher_checkpoint:
        raise UserError("--do_train_teacher starts from a pretrained encoder; leave out --teacher_checkpoint.")
    return [
        _load_encoder(name, args, corpora, seed + number) for number, name in enumerate(args.teacher_model_name_or_path)
    ]


def _load_encoder(name: str, args: ModelArguments, corpora: Corpora, seed: int) -> Encoder:
    set_seed(seed)  # the head's initial weights
    with explain_loading_errors(name):
        path = resolve_model(name)
        tokenizer = load_tokenizer(
            path, args.trust_remote_code, args.add_prefix_space is not False, probe_words(corpora)
        )
    with explain_loading_errors(name, quiet=True):  # transformers would warn that the head is new, which is intended
        config = load_config(path, args.trust_remote_code)
        for field, value in label_config(corpora.tags, config.model_type).items():
            setattr(config, field, value)
        model = AutoModelForTokenClassification.from_pretrained(
            path, config=config, ignore_mismatched_sizes=True, trust_remote_code=args.trust_remote_code
        )
    return Encoder(model.float(), tokenizer, model_digest(model))


def reserve_with_tokenizer(
    arguments: RunArguments,
    corpora: Corpora,
    encoders: Sequence[Encoder],
    teachers: Sequence[Teacher],
    answers: Sequence[StoredAnswers],
) -> PreTrainedTokenizerBase:
    """Reserve the output directory for this job, and return the student's tokenizer, which may be learnt into it.

    Raises:
        UserError: the directory belongs to another job, or there is no tokenizer.
    """
    model, data, args, _ = arguments
    models = [each.digest for each in encoders]
    models += [each.fingerprint() for each in teachers] + [each.fingerprint() for each in answers]
    folder = Path(args.output_dir)
    with PartialState().main_process_first():
        reserve_output_dir(folder, describe_job([model, data, args], corpora.datasets(), models))
        tokenizer = student_tokenizer(model, teachers, corpora, folder / "tokenizer")
    name, undecided = model.student_model_name_or_path, model.add_prefix_space is None
    if args.do_train or not name or not undecided or own_settings(tokenizer, model.trust_remote_code) is None:
        return tokenizer
    # Somebody else's student, which is only evaluated, is read as it was fine-tuned, like a teacher.
    student = load_teacher(
        name,
        corpora.tags,
        checkpoint=model.student_checkpoint,
        trust_remote_code=model.trust_remote_code,
        tag_format=dataclasses.replace(corpus_format(data), scheme=None, names=()),
    )
    return find_prefix_space(student, _tried_sentences(corpora), model.trust_remote_code).tokenizer


def student_tokenizer(
    args: ModelArguments, teachers: Sequence[Teacher], corpora: Corpora, folder: Path
) -> PreTrainedTokenizerBase:
    """The tokenizer that is named, else that of the model the student starts from, else that of `args.embeddings_from`,
    else the (first) teacher's; with `args.vocabulary_size` one that is learnt from the training text and kept in
    `folder`, where none is named from nothing.
    """
    if args.vocabulary_size and folder.exists():
        if read_manifest(folder) and not changed_files(folder):
            return load_tokenizer(str(folder))
        logger.warning(f"{folder}: is not as it was written: learnt anew.")
        shutil.rmtree(folder)
    names = [args.tokenizer_name, args.student_model_name_or_path, args.embeddings_from]
    name = next((name for name in [*names, *args.teacher_model_name_or_path] if name), None)
    if teachers and name in args.teacher_model_name_or_path:
        tokenizer = teachers[args.teacher_model_name_or_path.index(name)].tokenizer  # as that teacher reads
    elif teachers and not any(names):
        tokenizer = teachers[0].tokenizer
    elif name is None and args.vocabulary_size:
        tokenizer = plain_tokenizer()
    elif name is None:
        raise UserError(
            "The student needs a tokenizer: --vocabulary_size learns one from the text, --tokenizer_name names one. (A "
            "teacher's it can share.)"
        )
    else:
        with explain_loading_errors(name):
            tokenizer = load_tokenizer(
                resolve_model(name), args.trust_remote_code, args.add_prefix_space is not False, probe_words(corpora)
            )
    if args.vocabulary_size:
        text = corpora.training_text()
        logger.warning(f"Learning a vocabulary of {args.vocabulary_size:,} subwords from {len(text):,} sentences.")
        tokenizer = learn_tokenizer(tokenizer, text["tokens"], args.vocabulary_size, folder)
    return tokenizer


def make_stores(
    teachers: Sequence[WordTeacher], corpora: Corpora, args: DistillationArguments
) -> dict[str, list[SignalStore]]:
    """For each corpus that the teachers label a store of signals for each teacher: `eval`, maybe `test`, and `train`
    (with the unlabelled text) unless the losses need a live teacher. Empty where nothing is distilled.

    Raises:
        UserError: machines do not share the stores.
    """
    if not args.distillation:
        return {}
    labelled = corpora.evaluated()
    if args.do_train and not args.intermediate_losses:
        labelled["train"] = corpora.training_text()
    folder = args.signals_dir or default_signals_dir()
    check_shared("signals_dir", folder)
    return {
        name: [SignalStore(teacher, dataset, folder, bool(args.bf16)) for teacher in teachers]
        for name, dataset in labelled.items()
    }


def signal_summary(stores: Mapping[str, Sequence[SignalStore]], args: DistillationArguments) -> str:
    """How much the teachers still have to label, how long that will take, and where it is stored."""
    lines: list[str] = []
    pairs = list(zip(*stores.values(), strict=True))
    several = sum(isinstance(each[0].teacher, Teacher) for each in pairs) > 1
    for teacher_stores in pairs:
        if not isinstance(teacher_stores[0].teacher, Teacher):
            continue
        missing = datasets.concatenate_datasets([store.missing for store in teacher_stores])
        seconds = (
            estimate_seconds(teacher_stores[0].teacher, missing, bool(args.bf16)) / args.world_size
            if len(missing)
            else 0
        )
        number = f" {len(lines) + 1}" if several else ""
        lines.append(f"teacher{number}: {len(missing):,} sentences to label, about {seconds / 60:.1f} minutes")
    if args.intermediate_losses:
        lines[0] += "; run again at every training step, for its hidden states"
    return "\n".join([*lines, f"stored signals: {stores['eval'][0].folder.parent}"])


def build(
    arguments: RunArguments, corpora: Corpora, tokenizer: PreTrainedTokenizerBase, teachers: Sequence[Teacher]
) -> Student:
    """Build the student, and choose how its pipeline splits running text into words.

    Raises:
        UserError: it cannot be built, or not be trained or exported as the arguments request.
    """
    args = arguments.training
    set_seed(args.seed)
    source = teachers[0] if teachers else None
    text = corpora.training_text()
    model = build_student(arguments.model, corpora.tags, tokenizer, source, text, new_head=args.do_train)
    if arguments.model.prune_vocabulary:
        whole, tokenizer = tokenizer, prune_vocabulary(model, tokenizer, text["tokens"])
        check_other_text(whole, tokenizer, corpora.eval["tokens"])
    check_checkpointing(model, args)
    if args.export:
        check_exportable(model)
    say_what_words_are(model, corpora)
    return Student.with_limit(model, tokenizer, corpora.tags, arguments.data.max_seq_length)


def say_what_words_are(model: PreTrainedModel, corpora: Corpora) -> None:
    """Write into a model's configuration how its pipeline splits running text into words, and how well."""
    model.config.word_rule, model.config.word_rule_finds = corpora.word_rule, round(corpora.word_rule_finds, 4)


def has_its_weights(folder: Path) -> bool:
    """Whether a folder has the weights that this program wrote there."""
    return SAFE_WEIGHTS_NAME in (read_manifest(folder) or {}) and SAFE_WEIGHTS_NAME not in changed_files(folder)


def _last_checkpoint(folder: Path, args: DistillationArguments) -> str | None:
    """The checkpoint to go on from: the newest whole one, or that of `--resume_from_checkpoint`.

    Raises:
        UserError: it was written by another number of processes, or the given one is not whole.
    """
    given = args.resume_from_checkpoint
    if given and given.lower() in ("true", "1"):
        given = None  # as without the option
    if given and Path(given).resolve().parent != folder.resolve() and read_job(Path(given).parent) != read_job(folder):
        raise UserError(f"{given} is a checkpoint of a different run ({JOB_NAME} beside it). Choose another.")
    for checkpoint in [Path(given)] if given else checkpoints(folder):
        if lacks := missing_from_checkpoint(checkpoint):
            if given:
                raise UserError(f"{checkpoint} is no whole checkpoint of this program: {lacks}. Choose another.")
            logger.warning(f"{checkpoint} is passed over: {lacks}.")
            continue
        processes = len(list(checkpoint.glob("rng_state_*.pth"))) or 1
        if processes != args.world_size:
            raise UserError(
                f"{checkpoint} was written by {processes} process(es); with {args.world_size} other sentences would "
                f"follow. Go on with {processes}, or remove the checkpoints."
            )
        return str(checkpoint)
    return None


def train(
    student: Student,
    args: DistillationArguments,
    corpora: Corpora,
    teachers: Sequence[Teacher] = (),
    stores: Sequence[SignalStore] = (),
) -> DistillationTrainer:
    """Train a token classifier, resuming from the last checkpoint in `args.output_dir` if there is one.

    Without teachers it learns from the labels alone. With `stores` the teachers' logits are stored signals; without
    them, the only teacher runs at each step.
    """
    folder = Path(args.output_dir)
    finished = (folder / RESULTS_NAME).exists()
    training = args.do_train and not finished
    teachers = teachers if args.distillation else ()
    teacher = teachers[0] if training and teachers and not stores else None
    keep_tokens = teacher is not None and not teacher.reads_windows_of(student.tokenizer)
    max_length = student.max_length
    if teacher is not None and not keep_tokens:
        # One tokenizer: the teacher reads the student's windows, so they have to suit both.
        max_length = min(max_length, teacher.max_length)
        teacher = dataclasses.replace(teacher, max_length=max_length)
    with PartialState().main_process_first():
        pieces = teachers[0].tokenizer if teachers else student.tokenizer
        rows = word_feature_rows(student.model.config)
        evaluation = encode_dataset(
            corpora.eval,
            student.tokenizer,
            max_length,
            student.tags,
            piece_tokenizer=pieces,
            by_length=True,
            feature_rows=rows,
        )
        sentences, text = corpora.training_text(unlabeled=args.distillation), None
        if training:
            text = encode_dataset(
                sentences, student.tokenizer, max_length, student.tags, keep_tokens=keep_tokens, feature_rows=rows
            )
    if training and stores:
        text = attach_signals(stores, text)
    patience = args.early_stopping_patience
    trainer = DistillationTrainer(
        model=student.model,
        args=args,
        teacher=teacher,
        processing_class=student.tokenizer,
        train_dataset=text,
        eval_dataset=evaluation,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=patience)] if patience else [],
    )
    show_progress(trainer, sentences)
    if training:
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder, args))
        trainer.save_state()
    elif finished:
        if not has_its_weights(folder):
            raise UserError(
                f"{folder}: {SAFE_WEIGHTS_NAME}: missing, or changed since this run wrote it. Remove {RESULTS_NAME} to "
                "go on from the last checkpoint, or the folder."
            )
        ignored = " --resume_from_checkpoint is ignored." if args.resume_from_checkpoint else ""
        logger.warning(f"Using the finished model in {folder}: data, teachers and arguments are the same.{ignored}")
        student.model.load_state_dict(safetensors.torch.load_file(folder / SAFE_WEIGHTS_NAME))
    return trainer
