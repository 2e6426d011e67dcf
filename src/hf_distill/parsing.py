"""Parse a YAML file and command-line flags into checked arguments."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from .arguments import (
    DataArguments,
    DistillationArguments,
    ModelArguments,
    PredictionArguments,
    PublishingArguments,
    ReportArguments,
    RunArguments,
)
from .runtime.tags import UserError

# Flags and values of the *BioBERT Distillation* script that transformers names differently.
SCRIPT_FLAGS = {
    "batch_size": "per_device_train_batch_size",
    "lr_params": "learning_rate",
    "scheduler": "lr_scheduler_type",
}
SCRIPT_VALUES = {"lr_scheduler_type": {"const": "constant"}}
QUICKSTART = Path(__file__).parent / "quickstart" / "quickstart.yaml"


class _Parser(HfArgumentParser):
    def __init__(self, *groups, prog):  # not annotated: no class matches the type that HfArgumentParser declares
        super().__init__(groups, prog=prog, allow_abbrev=False)

    def error(self, message: str):
        raise UserError(f"{message}. See --help.")


def parse_arguments(argv: Sequence[str]) -> RunArguments:
    """Parse `[CONFIG.yaml] [--flag value ...]`; flags override the file's values.

    Raises:
        UserError: an unknown key or flag (the message suggests the nearest known one), or an invalid value.
    """
    groups = (ModelArguments, DataArguments, DistillationArguments, PublishingArguments)
    parser = _Parser(*groups, prog="run_distill.py")
    parser.usage = (
        "%(prog)s [CONFIG.yaml] [--flag value ...]\n"
        "       %(prog)s predict MODEL --input FILES --output FILE\n"
        "       %(prog)s report FOLDER [FOLDER ...] [--output FILE]"
    )
    known = _option_names(parser)
    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        config = arguments.pop(0)
        arguments = _read_config(config, known) + arguments
    return RunArguments(*_parse(parser, _translate_flags(arguments, known)))


def parse_prediction(argv: Sequence[str]) -> PredictionArguments:
    """Parse `MODEL --input FILES --output FILE [--flag value ...]`, the arguments after `predict`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), a missing one, or an invalid value.
    """
    parser = _Parser(PredictionArguments, prog="run_distill.py predict")
    parser.usage = "%(prog)s MODEL --input FILES --output FILE [--flag value ...]"
    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        arguments[0] = f"--model={arguments[0]}"
    [parsed] = _parse(parser, _translate_flags(arguments, _option_names(parser)))
    return parsed


def parse_report(argv: Sequence[str]) -> ReportArguments:
    """Parse `FOLDER [FOLDER ...] [--output FILE]`, the arguments after `report`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), or no folder.
    """
    parser = _Parser(ReportArguments, prog="run_distill.py report")
    parser.usage = "%(prog)s FOLDER [FOLDER ...] [--output FILE]"
    arguments = list(argv)
    if arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--folders")
    [parsed] = _parse(parser, _translate_flags(arguments, _option_names(parser)))
    return parsed


def _option_names(parser: _Parser) -> set[str]:
    return {option.lstrip("-").replace("-", "_") for option in parser._option_string_actions}


def _parse(parser: _Parser, arguments: list[str]) -> tuple:
    try:
        return parser.parse_args_into_dataclasses(arguments, look_for_args_file=False)
    except UserError:
        raise
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None


def _check_known(name: str, known: set[str], place: str) -> None:
    if name.replace("-", "_") not in known:
        names = known | {name for name, flag in SCRIPT_FLAGS.items() if flag in known}
        nearest = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise UserError(f"{place}.{hint}")


def _read_config(path: str, known: set[str]) -> list[str]:
    """Convert a flat YAML file to command-line arguments. `quickstart` names the file in this package.

    Values stay text, so that only the parser converts types. Relative paths of corpora are first tried in the folder
    of the YAML file.
    """
    path = str(QUICKSTART) if path == QUICKSTART.stem else path
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file. The first argument is a YAML file, or a flag.")
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}:1: expected keys and values, one pair per line (learning_rate: 1e-3).")
    arguments: list[str] = []
    seen: set[str] = set()
    for key_node, node in root.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        _check_known(SCRIPT_FLAGS.get(key, key), known, f"{path}:{line}: unknown key {key!r}")
        name = SCRIPT_FLAGS.get(key, key).replace("-", "_")
        if name in seen:
            raise UserError(f"{path}:{line}: the key {key!r} sets {name} a second time.")
        seen.add(name)
        if isinstance(node, yaml.SequenceNode):
            values = [item.value for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            values = [json.dumps(yaml.SafeLoader("").construct_mapping(node, deep=True))]
        elif node.tag == "tag:yaml.org,2002:null":
            continue  # a key without a value keeps the default
        else:
            values = [node.value]
        if name.startswith("path_to_"):
            local = [Path(path).resolve().parent / value for value in values]
            values = [str(file) if file.is_file() else value for file, value in zip(local, values, strict=True)]
        if values:
            # `--flag=value`, so that a value with a leading hyphen (-1) is not taken for a flag.
            arguments += [f"--{key}={values[0]}"] if len(values) == 1 else [f"--{key}", *values]
    return arguments


def _translate_flags(arguments: Sequence[str], known: set[str]) -> list[str]:
    """Replace flags and values of the *BioBERT Distillation* script by those of transformers; refuse unknown flags."""
    translated: list[str] = []
    flag = ""
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--"):
            flag = SCRIPT_FLAGS.get(name, name)
            _check_known(flag, known, f"unknown flag --{name}")
            value = SCRIPT_VALUES.get(flag, {}).get(value, value)
            translated.append(f"--{flag}{equals}{value}")
        else:
            translated.append(SCRIPT_VALUES.get(flag, {}).get(argument, argument))
    return translated
