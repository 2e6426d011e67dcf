"""Parse a YAML file and command-line flags into checked arguments."""

import argparse
import dataclasses
import difflib
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from .arguments import (
    COMMAND,
    PROGRAM,
    AnnotateArguments,
    ConvertArguments,
    DataArguments,
    DistillationOptions,
    ModelArguments,
    PredictionArguments,
    PublishingArguments,
    ReportArguments,
)
from .files import find_fault, read_yaml
from .presets import PRESETS, SCRIPT_ONLY, recipe_defaults
from .runtime.tags import UserError

if TYPE_CHECKING:
    from .training_arguments import RunArguments

# Flags and values of the *BioBERT Distillation* script that transformers names differently.
SCRIPT_FLAGS = {
    "batch_size": "per_device_train_batch_size",
    "lr_params": "learning_rate",
    "scheduler": "lr_scheduler_type",
}
SCRIPT_VALUES = {"lr_scheduler_type": {"const": "constant"}}
# Trainer has a --debug of its own.
TRACEBACK = "--traceback"
TRACEBACK_HELP = f"{TRACEBACK}: show where in the program an error arose, too."
QUICKSTART = Path(__file__).parent / "quickstart" / "quickstart.yaml"
USAGE = (
    "%(prog)s [CONFIG.yaml] [--flag value ...]\n"
    "       %(prog)s predict MODEL --input FILES --output FILE\n"
    "       %(prog)s annotate LABELLER --input FILES --output FILE [--labels LABEL ...]\n"
    "       %(prog)s report FOLDER [FOLDER ...] [--output FILE]\n"
    "       %(prog)s convert IN OUT"
)
# The arguments of each command, and how it is used. The one without a name distils.
COMMANDS: dict[str, tuple[tuple[type, ...], str]] = {
    "": ((ModelArguments, DataArguments, DistillationOptions, PublishingArguments), USAGE),
    "predict": ((PredictionArguments,), "%(prog)s MODEL --input FILES --output FILE [--flag value ...]"),
    "annotate": (
        (AnnotateArguments,),
        "%(prog)s LABELLER --input FILES --output FILE [--labels LABEL ...] [--flag value ...]",
    ),
    "report": ((ReportArguments,), "%(prog)s FOLDER [FOLDER ...] [--output FILE]"),
    "convert": ((ConvertArguments,), "%(prog)s IN OUT [--flag value ...]"),
}
# What --help shows at its end, by command: what for, and the arguments.
EXAMPLES = {
    "": {
        "try it, on an embedded corpus": "quickstart",
        "distil a teacher into a BiLSTM": "--teacher_model_name_or_path my-org/biobert-genes --path_to_train train.tsv "
        "--path_to_val devel.tsv --path_to_unlabeled pubmed.txt.gz --output_dir student",
        "without a teacher: fine-tune an encoder into one first": "--do_train_teacher 1 --teacher_model_name_or_path "
        "bert-base-cased --path_to_train train.tsv --path_to_val devel.tsv --output_dir student",
    },
    "predict": {
        "find mentions": "student --input pubmed.txt.gz more.jsonl --output mentions.jsonl",
        "those of which it is sure": "student --input pubmed.txt --output mentions.jsonl --threshold GENE=0.9 CELL=0.8",
        "what to annotate next, for Label Studio": "student --input pubmed.txt --output tasks.json "
        "--format labelstudio --most_uncertain 500",
    },
    "annotate": {
        "ask a language model": "openai:gpt-5-mini --input texts.txt --output answers.jsonl --labels GENE CELL",
        "ask a spaCy pipeline": "spacy:en_core_web_sm --input texts.jsonl --output answers.jsonl --labels PERSON",
    },
    "report": {"lay runs side by side": "outputs/first outputs/second --output runs.html"},
    "convert": {
        "a word and its tag per line": "annotations.jsonl train.tsv --misaligned widen",
        "a text with its mentions per line": "train.tsv train.jsonl",
    },
}
USUAL = {"teacher_model_name_or_path": ["TEACHER"], "path_to_train": "FILE"}  # whose defaults --help shows
BOOLEANS = dict.fromkeys(("1", "true", "yes", "y", "on"), True) | dict.fromkeys(("0", "false", "no", "n", "off"), False)


class _Parser(argparse.ArgumentParser):
    """Parses dataclasses as `HfArgumentParser` does, which takes seconds to import."""

    def __init__(self, command: str, defaults: Mapping[str, Any] | None = None):
        groups, usage = COMMANDS[command]
        super().__init__(
            prog=f"{PROGRAM} {command}".strip(),
            usage=usage,
            allow_abbrev=False,
            epilog=f"{TRACEBACK_HELP}\n\n{_examples(command)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # which leaves the lines of the epilog alone
        )
        self.own_defaults = defaults or {}
        for group in groups:
            summary, _, _ = (group.__doc__ or "").partition("\n")
            section = self.add_argument_group(summary.rstrip("."))
            for field in dataclasses.fields(group):
                self._add_field(section, field)

    def _add_field(self, section: argparse._ArgumentGroup, field: dataclasses.Field) -> None:
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = self.own_defaults.get(field.name, default)
        kind: Any = field.type
        if isinstance(kind, UnionType):  # with None
            [kind] = [each for each in get_args(kind) if each is not type(None)]
        options: dict[str, Any] = {"help": field.metadata["help"].replace("%", "%%"), "default": default}
        if default is dataclasses.MISSING:
            options |= {"required": True, "default": None}
        elif default not in (None, "", []):
            options["help"] += " (default: %(default)s)"
        if get_origin(kind) is list:
            [kind] = get_args(kind)
            options |= {"nargs": "+", "action": "extend"}
        if kind is bool:
            options |= {"type": _boolean, "nargs": "?", "const": True}
        else:
            options |= {"type": kind, "choices": field.metadata.get("choices")}
        names = dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}"])
        section.add_argument(*names, metavar=kind.__name__.upper() if not options.get("choices") else None, **options)

    def error(self, message: str):
        raise UserError(f"{message}. See --help.")


def make_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command of `COMMANDS`; that of a run has not the options of transformers."""
    if command:
        return _Parser(command)
    parser = _Parser(command, recipe_defaults(USUAL))
    _add_preset(parser)
    more = "All options of transformers' TrainingArguments are options, too: --help-all lists them."
    parser.epilog = f"{more}\n{parser.epilog}"
    return parser


def _examples(command: str) -> str:
    """The examples of a command, as they stand in a shell."""
    lines = ["examples:"]
    for purpose, arguments in EXAMPLES[command].items():
        typed = " ".join(filter(None, [COMMAND, command, arguments]))
        unbroken = re.sub(" (?!--)", "\0", typed)  # lines end before a flag
        parts = textwrap.wrap(unbroken, 96, break_long_words=False, break_on_hyphens=False)
        lines += [f"  # {purpose}", "  " + " \\\n      ".join(parts).replace("\0", " ")]
    return "\n".join(lines)


def _boolean(value: str) -> bool:
    try:
        return BOOLEANS[value.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected 1 or 0, got {value!r:.200}") from None


def parse_arguments(argv: Sequence[str]) -> "RunArguments":
    """Parse `[CONFIG.yaml] [--flag value ...]`; flags override the file's values.

    Raises:
        UserError: an unknown key or flag (the message suggests the nearest known one), or an invalid value.
    """
    config = argv[0] if argv and not argv[0].startswith("-") else ""
    config = str(QUICKSTART) if config == QUICKSTART.stem else config
    if config and not Path(config).is_file():
        commands = ", ".join(filter(None, COMMANDS))
        raise UserError(f"{config}: no such file. It is no command ({commands}), flag or YAML file.")
    text = read_yaml(config) if config else ""  # before transformers is imported, which takes seconds
    if "--help" in argv or "-h" in argv:
        make_parser("").print_help()
        sys.exit()
    from transformers import HfArgumentParser

    from .training.checks import rehearse
    from .training_arguments import DistillationArguments, RunArguments

    class Parser(HfArgumentParser):
        error = _Parser.error

    groups: Any = (ModelArguments, DataArguments, DistillationArguments, PublishingArguments)
    full = Parser(groups, prog=PROGRAM, usage=USAGE, allow_abbrev=False, epilog=TRACEBACK_HELP)
    _add_preset(full)
    if "--help-all" in argv:
        full.set_defaults(**recipe_defaults(USUAL))
        for option in full._actions:
            option.help = (option.help or "").replace("%", "%%")
        full.print_help()
        sys.exit()
    known = _option_names(full)
    single = {action.dest for action in full._actions if action.nargs not in ("+", "*")}
    typed = [argument.partition("=")[0] for argument in argv if argument.startswith("--")]
    for flag in typed:
        action = full._option_string_actions.get(flag)
        if action and action.nargs == "+" and typed.count(flag) > 1:
            raise UserError(f"{flag} is given twice: put all its values after one.")
    arguments = list(argv)
    if config:
        arguments[:1] = _read_config(config, text, known, single)
    translated = _translate_flags(arguments, known)
    parsed = vars(full.parse_args(translated))
    if (parsed["preset"] or _preset_of(_flags(arguments))) == "recipe":
        # Trainer's booleans have a second flag, --no_NAME.
        actions = [full._option_string_actions.get(f"--{flag}") for flag in _flags(translated)]
        full.set_defaults(**recipe_defaults({each.dest: parsed[each.dest] for each in actions if each}))
    environment = dict(os.environ)
    try:
        run = RunArguments(*full.parse_args_into_dataclasses(translated, look_for_args_file=False)[: len(groups)])
        rehearse(run.training)
        return run
    except UserError:
        raise
    except Exception as error:  # Trainer and its arguments raise nearly anything, from AttributeError to ImportError
        if find_fault(error):
            raise

        def attempt(own: Mapping[str, Any]) -> None:
            os.environ.clear()
            os.environ.update(environment)  # where TrainingArguments writes for accelerate
            rehearse(DistillationArguments(**own))

        values = vars(full.parse_args(translated))
        options = [field.name for field in dataclasses.fields(DistillationArguments) if field.init]
        options.remove("hub_token")  # which is shown nowhere
        actions = [full._option_string_actions.get(f"--{flag}") for flag in _flags(translated)]
        given = [each.dest for each in actions if each and each.dest in options]
        name = _culprit(attempt, {name: values[name] for name in options}, given, error)
        if not name and not isinstance(error, ValueError | TypeError | ImportError | RuntimeError):
            raise
        message = str(error).strip()
        if not name and "ACCELERATE_MIXED_PRECISION" in environment:
            message = f"{message.rstrip('. ')}. Correct the options or the configuration of accelerate launch."
        if name and "--" not in message:
            message = f"--{name} {values[name]}: {message.rstrip('. ')}. Correct the option, or leave it out."
        raise UserError(message) from error


def _culprit(
    attempt: Callable[[Mapping[str, Any]], None], values: Mapping[str, Any], given: Sequence[str], error: Exception
) -> str:
    """Return which of the given options has to go for an attempt not to end in an error, or ""."""
    for name in given:
        try:
            attempt({other: value for other, value in values.items() if other != name})
        except Exception as remaining:
            if repr(remaining) == repr(error):
                continue
        return name
    return ""


def _add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="What arguments have that are not given. recipe: for a new BiLSTM the values of configs/recipe.yaml, the "
        "defaults shown here, with --student_layers those of configs/recipe_transformer.yaml (without --export and "
        "--prune_vocabulary), as far as they fit what is given. For other students, and with original: the loss, sizes "
        "and rates of the BioBERT Distillation script. Default: recipe, unless one of the script's own flags "
        f"(--{', --'.join(SCRIPT_ONLY)}) is given.",
    )


def _preset_of(flags: Sequence[str]) -> str:
    """Return the preset of a command line that names none; says so if that is not the usual one."""
    own = [flag for flag in flags if flag in SCRIPT_ONLY]
    if own and int(os.environ.get("RANK", 0)) == 0:
        print(
            f"--{own[0]} is a flag of the BioBERT Distillation script, whose loss, sizes and rates are taken (--preset "
            "original). --preset recipe makes better students."
        )
    return "original" if own else "recipe"


def _flags(arguments: Sequence[str]) -> list[str]:
    """The names of the flags among arguments, with underscores."""
    flags = [argument for argument in arguments if argument.startswith("--")]
    return [flag.removeprefix("--").partition("=")[0].replace("-", "_") for flag in flags]


def parse_prediction(argv: Sequence[str]) -> PredictionArguments:
    """Parse `MODEL --input FILES --output FILE [--flag value ...]`, the arguments after `predict`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), a missing one, or an invalid value.
    """
    return PredictionArguments(**_parse_command("predict", ["model"], argv))


def parse_annotate(argv: Sequence[str]) -> AnnotateArguments:
    """Parse `LABELLER --input FILES --output FILE [--flag value ...]`, the arguments after `annotate`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), a missing one, or an invalid value.
    """
    return AnnotateArguments(**_parse_command("annotate", ["labeller"], argv))


def parse_convert(argv: Sequence[str]) -> ConvertArguments:
    """Parse `IN OUT [--flag value ...]`, the arguments after `convert`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), a missing name, or an invalid value.
    """
    return ConvertArguments(**_parse_command("convert", ["input", "output"], argv))


def parse_report(argv: Sequence[str]) -> ReportArguments:
    """Parse `FOLDER [FOLDER ...] [--output FILE]`, the arguments after `report`.

    Raises:
        UserError: an unknown flag (the message suggests the nearest known one), or no folder.
    """
    folders = ["--folders"] if argv and not argv[0].startswith("-") else []
    return ReportArguments(**_parse_command("report", [], [*folders, *argv]))


def _parse_command(command: str, first: Sequence[str], argv: Sequence[str]) -> dict[str, Any]:
    """Parse the arguments after a command, the first of which are the values of the flags `first`."""
    parser = make_parser(command)
    arguments = list(argv)
    names = [name for name in arguments[: len(first)] if not name.startswith("-")]
    arguments[: len(names)] = [f"--{flag}={name}" for flag, name in zip(first, names, strict=False)]
    return vars(parser.parse_args(_translate_flags(arguments, _option_names(parser))))


def _option_names(parser: argparse.ArgumentParser) -> set[str]:
    return {option.lstrip("-").replace("-", "_") for option in parser._option_string_actions}


def _check_known(name: str, known: set[str], place: str) -> None:
    if name.replace("-", "_") not in known:
        names = known | {name for name, flag in SCRIPT_FLAGS.items() if flag in known}
        nearest = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise UserError(f"{place}.{hint}")


def _read_config(path: str, text: str, known: set[str], single: set[str]) -> list[str]:
    """Convert a flat YAML file, of which `read_yaml` has read the text, to command-line arguments.

    Values stay text, so that only the parser converts types. Relative paths of corpora are first tried in the folder
    of the YAML file. Keys of `single` take no list.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:  # a second document
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}:1: expected keys and values, one pair per line (learning_rate: 1e-3).")
    arguments: list[str] = []
    seen: set[str] = set()
    for key_node, node in root.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        _check_known(SCRIPT_FLAGS.get(key, key), known, f"{path}:{line}: unknown key {key!r:.200}")
        name = SCRIPT_FLAGS.get(key, key).replace("-", "_")
        if name in seen:
            raise UserError(f"{path}:{line}: the key {key!r:.200} sets {name} a second time.")
        seen.add(name)
        if isinstance(node, yaml.SequenceNode):
            if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
                raise UserError(f"{path}:{line}: {key} is a list of single values, not of lists or mappings.")
            values = [item.value for item in node.value]
            if name in single and len(values) > 1:
                raise UserError(f"{path}:{line}: {key} takes one value, not a list of {len(values)}.")
        elif isinstance(node, yaml.MappingNode):
            try:
                values = [json.dumps(yaml.SafeLoader("").construct_mapping(node, deep=True))]
            except (yaml.YAMLError, TypeError, ValueError) as error:  # a date, say, which JSON has not
                raise UserError(
                    f"{path}:{line}: {key}: {error}. Values are text, numbers, true, false or null."
                ) from None
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
