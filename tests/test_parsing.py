import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from tiny import BILSTM, DATA, TINYBERT

from hf_distill.arguments import PredictionArguments
from hf_distill.cli import COMMANDS, main
from hf_distill.parsing import parse_annotate, parse_arguments, parse_convert, parse_prediction, parse_report
from hf_distill.runtime.tags import UserError

ROOT = Path(__file__).parents[1]


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def parse_yaml(tmp_path, text, *flags):
    return parse_arguments([write(tmp_path, text), *DATA, *flags])


@pytest.mark.parametrize(("command", "logging_steps"), [(BILSTM, 10), (TINYBERT, 50)], ids=["bilstm", "tinybert"])
def test_launch_commands(command, logging_steps):
    model, data, training, _ = parse_arguments(command)
    assert model.teacher_model_name_or_path == ["dmis-lab/biobert-base-cased-v1.1"]
    assert model.teacher_checkpoint == "biobert_state_dict.pt"
    assert (data.path_to_train, data.path_to_val) == ("train_aug3.tsv", "val.tsv")
    assert training.per_device_train_batch_size == 32
    assert training.learning_rate == 1e-3
    assert training.num_train_epochs == 50
    assert training.weight_decay == 1e-2
    assert training.logging_steps == logging_steps
    assert training.eval_strategy == training.save_strategy == "steps"
    assert training.eval_steps == training.save_steps == 50
    assert training.lr_scheduler_type == "linear"
    assert training.do_train and training.distillation and training.load_best_model_at_end
    assert training.alpha == 0
    if command is BILSTM:
        assert (model.model_name, model.embedding_type) == ("bilstm", "train")
        assert (model.embedding_size, model.hidden_size, model.classifier_size) == (300, 300, 256)
    else:
        assert (model.model_name, model.classifier_size) == ("tinybert", 0)


@pytest.mark.parametrize("command", [BILSTM, TINYBERT], ids=["bilstm", "tinybert"])
def test_a_launch_command_as_yaml_means_the_same(tmp_path, command):
    lines = [f"{flag[2:]}: {value}\n" for flag, value in zip(command[::2], command[1::2], strict=True)]
    assert parse_arguments([write(tmp_path, "".join(lines))]) == parse_arguments(command)


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("recipe", ""),
        ("recipe_transformer", "--model_name auto --student_layers 0 1 2 3 4 5 --prune_vocabulary 1"),
        ("recipe_transformer", "--model_name tinybert --student_layers 0 1 2 3 4 5 --prune_vocabulary 1"),
    ],
)
def test_the_default_is_the_recipe(recipe, flags):
    command = [*DATA, "--teacher_model_name_or_path", "teacher", "--output_dir", "out", *flags.split()]
    config = str(ROOT / "configs" / f"{recipe}.yaml")
    written = parse_arguments([config, *command, "--preset", "original"])
    default = parse_arguments(command)
    assert default == written._replace(training=dataclasses.replace(written.training, export=default.training.export))
    assert (
        default
        == parse_arguments([*command, "--preset", "recipe"])
        != parse_arguments([*command, "--preset", "original"])
    )


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("recipe*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_says_all_that_the_preset_would(path):
    command = [str(path), *DATA, "--teacher_model_name_or_path", "teacher"]
    assert parse_arguments(command) == parse_arguments([*command, "--preset", "original"])


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("--hidden_size 8", "hidden_size", 8),
        ("--logit_loss mse", "sequence_loss_weight", 0),
        ("--alpha 0", "alpha", 0),
        ("--augmentation_rounds 2", "transfer_sentences", 0),
        ("--distillation 0", "num_train_epochs", 10),
        ("--distillation 0", "transfer_sentences", 0),
        ("--distillation 0", "n_stacks", 1),
        ("--embedding_type bert", "vocabulary_size", 0),
        ("--tokenizer_name t", "vocabulary_size", 0),
        ("--augmentation_rounds 0", "transfer_sentences", 0),
        ("--lwtr_p 0 --mr_p 0 --sis_p 0", "transfer_sentences", 0),
        ("--no_load_best_model_at_end", "load_best_model_at_end", False),
        ("--no_do_train --student_checkpoint s.pt", "export", None),
        ("--do_train 0 --student_model_name_or_path s", "export", None),
        ("--prune_vocabulary 1", "vocabulary_size", 0),
        ("--student_model_name_or_path s", "vocabulary_size", 0),
        ("--student_model_name_or_path s", "model_name", "auto"),
        ("--student_model_name_or_path s", "sequence_loss_weight", 0),
        ("--student_model_name_or_path s --model_name auto", "transfer_sentences", 0),
        ("--student_checkpoint s.pt", "learning_rate", None),
        ("--model_name tinybert", "learning_rate", None),
        ("--model_name tinybert", "transfer_sentences", 0),
        ("--model_name tinybert", "logit_loss", "mse"),
    ],
)
def test_the_recipe_gives_way_to_what_is_given(flags, name, value):
    groups = parse_arguments([*DATA, "--teacher_model_name_or_path", "teacher", *flags.split()])
    [found] = [getattr(group, name) for group in groups if hasattr(group, name)]
    assert found == value


def test_without_a_teacher_the_recipe_takes_no_embeddings_of_one():
    for flags in (["--distillation", "0"], ["--path_to_annotations", "answers.jsonl"]):
        assert parse_arguments([*DATA, *flags]).model.embedding_type == "train"
        encoder = [*flags, "--embeddings_from", "encoder"]
        assert parse_arguments([*DATA, *encoder]).model.embedding_type == "svd"


@pytest.mark.parametrize("flag", ["--task_name=ner", "--lr_params=1e-3", "--batch_size=32"])
def test_a_flag_of_the_script_selects_its_defaults_and_says_so(flag, capsys):
    command = [*DATA, "--teacher_model_name_or_path", "teacher", flag]
    model, data, training, _ = parse_arguments(command)
    assert (model.embedding_type, training.logit_loss, data.transfer_sentences) == ("train", "mse", 0)
    assert f"{flag.partition('=')[0]} is a flag of the BioBERT Distillation script" in capsys.readouterr().out
    assert parse_arguments([*command, "--preset", "recipe"]).training.logit_loss == "ce"
    assert not capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "bc2gm").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_rows_of_the_script_have_its_defaults(path):
    _, _, training, _ = parse_arguments([str(path)])
    assert (training.logit_loss, training.alpha, training.sequence_loss_weight) == ("mse", 0, 0)


def test_flags_override_yaml(tmp_path):
    text = "batch_size: 8\nseed: 7\npath_to_unlabeled: [a.txt, b.txt]\n"
    _, data, training, _ = parse_yaml(tmp_path, text, "--batch_size", "16", "--path_to_unlabeled", "c.txt")
    assert training.per_device_train_batch_size == 16
    assert training.seed == 7
    assert data.path_to_unlabeled == ["c.txt"]
    # Also under its other name.
    _, _, training, _ = parse_yaml(tmp_path, text, "--per_device_train_batch_size=16")
    assert training.per_device_train_batch_size == 16


def test_yaml_values_are_typed_by_the_parser(tmp_path):
    text = (
        "eval_strategy: no\nlearning_rate: 1e-3\nweight_decay: 0\nload_best_model_at_end: no\ndistillation: 0\n"
        "do_train_teacher: true\ndrop_leaked: yes\nseed: '7'\nmax_steps: -1\n"
        "lr_scheduler_type: cosine\nlr_scheduler_kwargs: {num_cycles: 2}\n"
    )
    _, data, training, _ = parse_yaml(tmp_path, text)
    assert training.eval_strategy == training.save_strategy == "no"
    assert training.learning_rate == 0.001 and isinstance(training.learning_rate, float)
    assert training.weight_decay == 0 and isinstance(training.weight_decay, float)
    assert training.load_best_model_at_end is False
    assert training.distillation is False
    assert training.do_train_teacher is True
    assert data.drop_leaked is True
    assert (training.seed, training.max_steps) == (7, -1)
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}


def test_yaml_lists_and_nulls(tmp_path):
    text = (
        "model_name: tinybert\nstudent_layers: [0, 2]\nteacher_model_name_or_path:\n  - first\n  - second\n"
        "path_to_unlabeled: one.txt\nteacher_labels: []\nhidden_size: null\nsave_total_limit:\n"
    )
    model, data, training, _ = parse_yaml(tmp_path, text)
    assert model.student_layers == [0, 2]
    assert model.teacher_model_name_or_path == ["first", "second"]
    assert data.path_to_unlabeled == ["one.txt"]
    assert model.teacher_labels == []
    assert model.hidden_size is None
    assert training.save_total_limit == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("seed: 1\nlearnin_rate: 1e-3\n", 2, "unknown key 'learnin_rate'. Did you mean learning_rate?"),
        ("# a comment\n\nbach_size: 8\n", 3, "unknown key 'bach_size'. Did you mean batch_size?"),
        ("xyzzy: 8\n", 1, "unknown key 'xyzzy'."),
        ("seed: 1\nalpha: 0.5\nseed: 2\n", 3, "the key 'seed' sets seed a second time."),
        ("seed: 1\nbatch_size: [8, 16]\n", 2, "batch_size takes one value, not a list of 2."),
        ("- seed\n", 1, "expected keys and values"),
        ("", 1, "expected keys and values"),
    ],
)
def test_faulty_yaml_is_refused_with_its_line(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        parse_arguments([path, *DATA])
    assert str(refusal.value).startswith(f"{path}:{line}: {message}")


def test_unreadable_yaml_is_refused(tmp_path):
    path = write(tmp_path, "seed: [1\n")
    with pytest.raises(UserError, match="config.yaml: not valid YAML"):
        parse_arguments([path])
    with pytest.raises(UserError, match="nowhere.yaml: no such file"):
        parse_arguments(["nowhere.yaml"])


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [
        ("--bach_size", "batch_size"),
        ("--lr_param", "lr_params"),
        ("--learning-rte", "learning_rate"),
        ("--path_to_unlabelled", "path_to_unlabeled"),
        # No abbreviations.
        ("--num_train_epoch", "num_train_epochs"),
        ("--path_to_trai=x.tsv", "path_to_train"),
    ],
)
def test_unknown_flags_are_refused_with_the_nearest(flag, nearest):
    with pytest.raises(UserError) as refusal:
        parse_arguments([*DATA, flag, "8"])
    assert str(refusal.value) == f"unknown flag {flag.partition('=')[0]}. Did you mean {nearest}?"


def test_stray_arguments_are_refused():
    with pytest.raises(UserError, match="stray"):
        parse_arguments([*DATA, "--seed", "7", "stray"])


@pytest.mark.parametrize(
    "flags", [["--scheduler", "const"], ["--scheduler=const"], ["--lr_scheduler_type", "constant"]]
)
def test_constant_scheduler(flags):
    assert parse_arguments([*DATA, *flags]).training.lr_scheduler_type == "constant"


# The rows of the reference's tables: rounds of augmentation, hidden size, head, epochs, learning rate.
ROWS = {
    "labels-15k-linear": (0, 300, 0, 50, 1e-3),
    "labels-15k": (0, 300, 256, 50, 1e-3),
    "labels-262k": (6, 300, 256, 35, 1e-3),
    "teacher": (0, None, 0, 80, 1e-5),
    "bilstm-15k": (0, 300, 256, 50, 1e-3),
    "bilstm-56k-linear": (1, 300, 0, 50, 1e-3),
    "bilstm-56k": (1, 300, 256, 50, 1e-3),
    "bilstm-56k-bert": (1, 300, 256, 30, 1e-3),
    "bilstm-138k-hidden200": (3, 200, 256, 50, 1e-3),
    "bilstm-138k": (3, 300, 256, 50, 1e-3),
    "bilstm-262k": (6, 300, 256, 30, 1e-3),
    "tinybert-262k": (6, None, 0, 30, 3e-4),
}


def test_the_configurations_of_the_references_rows():
    paths = list((ROOT / "configs" / "bc2gm").glob("*.yaml"))
    assert {path.stem for path in paths} == ROWS.keys()
    for path in paths:
        model, data, args, _ = parse_arguments([str(path)])
        rounds, hidden, head, epochs, rate = ROWS[path.stem]
        assert (data.augmentation_rounds, model.hidden_size, model.classifier_size) == (rounds, hidden, head)
        assert (args.num_train_epochs, args.learning_rate, args.weight_decay) == (epochs, rate, 0.01)
        assert args.per_device_train_batch_size == 32 and args.measure_time
        assert args.distillation == (not path.stem.startswith(("labels", "teacher")))
        assert Path(args.output_dir).name == path.stem
        assert model.embedding_type == ("bert" if path.stem == "bilstm-56k-bert" else "train")
        assert (
            model.model_name == {"t": "tinybert", "b": "bilstm", "l": "bilstm"}[path.stem[0]] or path.stem == "teacher"
        )


@pytest.mark.parametrize("name", ["quickstart", str(ROOT / "configs" / "quickstart.yaml")])
def test_the_quickstart_finds_its_data_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, data_args, args, _ = parse_arguments([name])
    paths = [data_args.path_to_train, data_args.path_to_val, data_args.path_to_test, *data_args.path_to_unlabeled]
    assert all(Path(path).is_file() for path in paths) and args.output_dir == "outputs/quickstart"


def test_a_corpus_beside_the_yaml_file_comes_first(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.tsv").touch()
    (tmp_path / "configs" / "run.yaml").write_text("path_to_train: train.tsv\npath_to_val: val.tsv\n")
    monkeypatch.chdir(tmp_path)
    _, data_args, _, _ = parse_arguments(["configs/run.yaml"])
    assert data_args.path_to_train == str(tmp_path / "configs" / "train.tsv") and data_args.path_to_val == "val.tsv"


def test_flags(capsys):
    parsed = parse_prediction("student --input a.txt b.tsv --output c.jsonl --runtime onnx".split())
    assert parsed == PredictionArguments("student", ["a.txt", "b.tsv"], "c.jsonl", "onnx")
    with pytest.raises(UserError, match="unknown flag --ouput. Did you mean output?"):
        parse_prediction("student --input a.txt --ouput c.jsonl".split())
    for wrong in ("student --input a.txt", "--input a.txt --output b.tsv", "student --input --output b.tsv", "", "a b"):
        with pytest.raises(UserError, match="--help"):
            parse_prediction(wrong.split())
    with pytest.raises(UserError, match="invalid choice"):
        parse_prediction("student --input a.txt --output b.tsv --runtime int4".split())
    for command in (["--help"], ["predict", "--help"]):
        with pytest.raises(SystemExit):
            main(command)
        assert "predict MODEL --input FILES --output FILE" in capsys.readouterr().out


def test_an_option_given_twice_adds_up():
    parsed = parse_prediction("student --input a.txt b.txt --input c.txt --output out.tsv".split())
    assert parsed.input == ["a.txt", "b.txt", "c.txt"]
    # A run's file gives values that the command line overrides, so that there they cannot.
    with pytest.raises(UserError, match="--path_to_unlabeled is given twice"):
        parse_arguments([*DATA, "--path_to_unlabeled", "a.txt", "--path_to_unlabeled=b.txt"])


PARSERS = {
    "": parse_arguments,
    "predict": parse_prediction,
    "annotate": parse_annotate,
    "report": parse_report,
    "convert": parse_convert,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_can_be_typed(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    _, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    typed = re.findall(r"^  (?!#)(\S.*)$", examples.replace("\\\n", ""), re.M)
    assert typed
    for line in typed:
        program, *arguments = shlex.split(line)
        assert program == "hf-distill" and arguments[: len(command.split())] == command.split()
        PARSERS[command](arguments[len(command.split()) :])
