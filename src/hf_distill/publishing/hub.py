"""Pushing models to the Hub: self-contained repositories, without paths and tokens of this machine."""

import dataclasses
import fnmatch
import json
from collections.abc import Iterable
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitInfo, CommitOperationAdd
from huggingface_hub.errors import HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import api
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.utils import logging

from ..data.job import MAY_CHANGE_ON_RESUME
from ..files import MANIFEST_NAME, TRAINING_STATE, changed_files, read_manifest, write_text
from ..runtime.tags import UserError
from ..training_arguments import DistillationArguments, RunArguments
from .tables import shown

logger = logging.get_logger(__name__)

CARD_NAME = "README.md"
UNREACHABLE = (HTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled)
# Not published: corpora and predictions, whose licence may forbid it; training_args.bin, which holds paths and tokens.
PUBLISHED = """
    README.md run.yaml config.json all_results.json benchmark.json *.png *.py model*.safetensors
    model.safetensors.index.json tokenizer*.json special_tokens_map.json vocab.* merges.txt *.model onnx/*.onnx
""".split()

# Arguments that are published although a run may be resumed with other values.
PUBLISHED_ARGUMENTS = frozenset(
    """
    path_to_train path_to_val path_to_test path_to_unlabeled path_to_annotations dataset_name
    dataset_config_name token_column tag_column
    input_format misaligned nested tag_names unlabeled_dataset unlabeled_dataset_config_name unlabeled_column
    input_scheme entity_type rename_types entity_aliases teacher_scheme lwtr_p mr_p sis_p mr_across_types
    teacher_model_name_or_path teacher_checkpoint do_train_baseline measure_time export target_precision
    """.split()
)


def write_run(path: str | Path, arguments: RunArguments) -> None:
    """Write the arguments of a run that differ from those of `--preset original` as a YAML file that reproduces the
    student.

    Files and folders are given by name only.
    """
    # Defaults that __post_init__ sets. That of bf16 depends on the machine, so that bf16 is always written.
    computed = vars(DistillationArguments()) | {"bf16": None}
    run = {"preset": "original"}
    for group in (arguments.model, arguments.data, arguments.training):
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            value = value.value if isinstance(value, Enum) else value
            default = field.default_factory() if callable(field.default_factory) else field.default
            default = default.value if isinstance(default, Enum) else default
            is_default = value in (default, computed.get(field.name))
            published = field.name in PUBLISHED_ARGUMENTS or field.name not in MAY_CHANGE_ON_RESUME
            if field.init and published and not is_default:
                if field.name not in ("entity_type", "rename_types"):  # names of entity types may look like paths
                    value = _without_path(value)
                run[field.name] = value
    head = "# Local models and files are given by name only: pass their paths as flags to run this again.\n"
    write_text(path, head + yaml.safe_dump(run, sort_keys=False, allow_unicode=True))


def _without_path(value: Any) -> Any:
    """Return a value, or what is in a list or dictionary, with files and folders by name only."""
    if isinstance(value, dict):
        return {_without_path(name): _without_path(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_path(each) for each in value]
    return shown(value) if isinstance(value, str) and ("/" in value or Path(value).exists()) else value


def create_repository(args: DistillationArguments) -> str:
    """Create the repository and branch to push to, and return its full name.

    Raises:
        UserError: the Hub refuses, or cannot be reached.
    """
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    try:
        repository = api.create_repo(name, token=args.hub_token, private=args.hub_private_repo, exist_ok=True)
        if args.hub_revision:
            api.create_branch(repository.repo_id, branch=args.hub_revision, token=args.hub_token, exist_ok=True)
    except UNREACHABLE as error:
        raise UserError(
            f"--push_to_hub: {name} cannot be written to ({type(error).__name__}: {error}). Log in with `hf auth "
            "login`, or set HF_TOKEN to a token with write access, and check --hub_model_id."
        ) from error
    return repository.repo_id


def publish(
    folder: str | Path, args: DistillationArguments, message: str, run_as_future: bool = False
) -> CommitInfo | Future:
    """Push the files in `PUBLISHED` that this program wrote into an output directory or a checkpoint.

    Of other files that are called so, those there are told of and left out; but a model card may be anybody's.

    Raises:
        UserError: one of these files was changed after it was written.
    """
    folder = Path(folder)
    changed = [
        name for name in changed_files(folder) if _matches(name, [*PUBLISHED, MANIFEST_NAME]) and name != CARD_NAME
    ]
    if changed:
        raise UserError(f"{folder}: {', '.join(changed)}: missing, or changed since this run wrote it. Run it again.")
    written = {name for name in read_manifest(folder) or {} if _matches(name, PUBLISHED)}
    card = folder / CARD_NAME
    names = sorted(written - {CARD_NAME} | ({CARD_NAME} if card.is_file() and not card.is_symlink() else set()))
    foreign = sorted(
        name
        for pattern in PUBLISHED
        for path in folder.glob(pattern)
        if (name := path.relative_to(folder).as_posix()) not in names
    )
    if foreign:
        logger.warning(f"{folder}: not published, because this run did not write it: {', '.join(foreign)}")
    return _commit({name: (folder / name).read_bytes() for name in names}, args, message, run_as_future)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def publish_checkpoint(
    folder: str | Path, target: str, args: DistillationArguments, message: str
) -> CommitInfo | Future:
    """Push the files that a run needs to resume from a checkpoint into the repository's folder `target`."""
    folder, contents = Path(folder), {}
    names = {name for name in read_manifest(folder) or {} if name != TRAINING_ARGS_NAME}
    names |= {path.name for pattern in TRAINING_STATE for path in folder.glob(pattern)}
    for path in sorted(folder / name for name in names if not (folder / name).is_symlink()):
        content = path.read_bytes()
        if path.name == TRAINER_STATE_NAME:
            state = json.loads(content)
            best = state["best_model_checkpoint"]
            content = json.dumps(state | {"best_model_checkpoint": best and Path(best).name}, indent=2).encode()
        contents[f"{target}/{path.relative_to(folder).as_posix()}"] = content
    return _commit(contents, args, message, run_as_future=True)


def _commit(
    contents: dict[str, bytes], args: DistillationArguments, message: str, run_as_future: bool
) -> CommitInfo | Future:
    # By content, not by path: a checkpoint may be deleted before a background push reads it.
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    try:
        return api.create_commit(  # type: ignore[call-overload]  # overloaded by the literal value of run_as_future
            args.hub_model_id,
            operations,
            commit_message=message,
            token=args.hub_token,
            revision=args.hub_revision,
            run_as_future=run_as_future,
        )
    except (*UNREACHABLE, RuntimeError) as error:  # the latter of an upload
        raise UserError(
            f"--push_to_hub: {args.hub_model_id} could not be published ({type(error).__name__}: {error}). "
            f"{args.output_dir} is complete: the same command publishes it."
        ) from error
