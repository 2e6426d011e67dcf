import logging
import shlex
from pathlib import Path

import pytest

from hf_distill.arguments import DistillationArguments
from hf_distill.labels import UserError
from hf_distill.parsing import parse_arguments
from hf_distill.run import prepare

BILSTM = shlex.split("""
    --task_name ner --model_name bilstm --path_to_train train_aug3.tsv --path_to_val val.tsv
    --teacher_model_name_or_path dmis-lab/biobert-base-cased-v1.1 --batch_size 32 --lr_params 1e-3
    --num_train_epochs 50 --eval_steps 50 --logging_steps 10 --save_steps 10 --weight_decay 1e-2
    --teacher_checkpoint biobert_state_dict.pt --embedding_type train --embedding_size 300 --hidden_size 300
    --classifier_size 256 --do_train 1 --distillation 1
""")
TINYBERT = shlex.split("""
    --task_name ner --model_name tinybert --path_to_train train_aug3.tsv --path_to_val val.tsv
    --teacher_model_name_or_path dmis-lab/biobert-base-cased-v1.1 --batch_size 32 --lr_params 1e-3
    --num_train_epochs 50 --eval_steps 50 --logging_steps 50 --save_steps 10 --weight_decay 1e-2
    --teacher_checkpoint biobert_state_dict.pt --distillation 1 --do_train 1
""")
ROOT = Path(__file__).parents[1]
DATA = ["--path_to_train", "train.tsv", "--path_to_val", "val.tsv"]


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def parse_yaml(tmp_path, text, *flags):
    return parse_arguments([write(tmp_path, text), *DATA, *flags])


@pytest.mark.parametrize(("command", "logging_steps"), [(BILSTM, 10), (TINYBERT, 50)], ids=["bilstm", "tinybert"])
def test_launch_commands(command, logging_steps):
    model, data, training = parse_arguments(command)
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


def test_flags_override_yaml(tmp_path):
    text = "batch_size: 8\nseed: 7\npath_to_unlabeled: [a.txt, b.txt]\n"
    _, data, training = parse_yaml(tmp_path, text, "--batch_size", "16", "--path_to_unlabeled", "c.txt")
    assert training.per_device_train_batch_size == 16
    assert training.seed == 7
    assert data.path_to_unlabeled == ["c.txt"]
    # Also under its other name.
    _, _, training = parse_yaml(tmp_path, text, "--per_device_train_batch_size=16")
    assert training.per_device_train_batch_size == 16


def test_yaml_values_are_typed_by_the_parser(tmp_path):
    text = (
        "eval_strategy: no\nlearning_rate: 1e-3\nweight_decay: 0\nload_best_model_at_end: no\ndistillation: 0\n"
        "do_train_teacher: true\ndrop_leaked: yes\nseed: '7'\nmax_steps: -1\nlr_scheduler_kwargs: {num_cycles: 2}\n"
    )
    _, data, training = parse_yaml(tmp_path, text)
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
    model, data, training = parse_yaml(tmp_path, text)
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
    assert parse_arguments([*DATA, *flags])[2].lr_scheduler_type == "constant"


@pytest.mark.parametrize(
    ("flags", "eval_strategy", "save_steps"),
    [
        ("--eval_steps 50 --save_steps 10", "steps", 50),
        ("--eval_steps 50 --save_steps 120", "steps", 150),
        ("--eval_steps 50 --save_steps 100", "steps", 100),
        ("--eval_steps 50 --save_steps 10 --load_best_model_at_end 0", "steps", 10),
        ("--eval_steps 50 --save_steps 10 --eval_strategy epoch", "epoch", 10),
        ("--save_steps 10", "epoch", 10),
    ],
)
def test_when_to_evaluate_and_save(caplog, flags, eval_strategy, save_steps):
    with caplog.at_level(logging.WARNING):
        training = parse_arguments([*DATA, *flags.split()])[2]
    assert training.eval_strategy == training.save_strategy == eval_strategy
    assert training.save_steps == save_steps
    assert training.save_total_limit == 2
    assert (f"becomes {save_steps}" in caplog.text) == (f"--save_steps {save_steps}" not in flags)


def test_defaults():
    model, data, training = parse_arguments(DATA)
    assert (model.model_name, model.embedding_size, data.tag_scheme) == ("bilstm", 300, None)
    prepare(model, training)
    assert (training.learning_rate, training.per_device_train_batch_size) == (1e-3, 32)
    assert training.lr_scheduler_type == "linear"
    assert (training.label_smoothing_factor, training.alpha, training.min_teacher_f1) == (0.1, 0, 0.1)
    assert training.metric_for_best_model == "f1" and training.greater_is_better


@pytest.mark.parametrize(
    ("flags", "rate"), [("", 1e-3), ("--model_name tinybert", 3e-4), ("--model_name tinybert --lr_params 1e-5", 1e-5)]
)
def test_each_student_has_its_learning_rate(flags, rate):
    model, _, training = parse_arguments([*DATA, *flags.split()])
    prepare(model, training)
    assert training.learning_rate == rate


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ([], "outputs/bilstm"),
        (["--model_name", "tinybert", "--comment", "first try"], "outputs/tinybert-first try"),
        (["--output_dir", "here"], "here"),
    ],
)
def test_default_output_folder(flags, folder):
    model, _, training = parse_arguments([*DATA, *flags])
    prepare(model, training)
    assert training.output_dir == folder


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--alpha 1.7", "--alpha must be in [0.0, 1.0], got 1.7."),
        ("--alpha -1", "--alpha must be in [0.0, 1.0], got -1.0."),
        ("--alpha nan", "--alpha must be in [0.0, 1.0], got nan."),
        ("--temperature 0", "--temperature must be above 0, got 0.0."),
        ("--label_smoothing_factor 1", "--label_smoothing_factor must be in [0.0, 1.0), got 1.0."),
        ("--hidden_loss_weight -0.5", "--hidden_loss_weight must not be negative, got -0.5."),
        ("--dropout 1", "--dropout must be in [0, 1), got 1.0."),
        ("--embedding_size 0", "--embedding_size must be positive, got 0."),
        ("--n_layers -2", "--n_layers must be positive, got -2."),
        ("--classifier_size -1", "--classifier_size must not be negative, got -1."),
        ("--max_seq_length 8", "--max_seq_length must be at least 16, got 8."),
        ("--model_name lstm", "argument --model_name"),
        ("--model_name lstm", "invalid choice: 'lstm' (choose from"),
        ("--tag_scheme BIO", "invalid choice: 'BIO'"),
        ("--lr_params fast", "argument --learning_rate"),
        ("--lr_params fast", "invalid float value: 'fast'"),
        ("--do_train maybe", "got maybe"),
        ("--eval_strategy sometimes", "sometimes is not a valid"),
        ("--alpha", "expected one argument"),
        ("--augmentation_rounds -1", "--augmentation_rounds must not be negative, got -1"),
        ("--transfer_sentences -5", "--transfer_sentences must not be negative, got -5"),
        ("--vocabulary_size -1", "--vocabulary_size must not be negative, got -1"),
        ("--embedding_dropout 1", "--embedding_dropout must be in [0, 1), got 1.0"),
        ("--mr_p 1.5", "--mr_p must be in [0.0, 1.0], got 1.5"),
    ],
)
def test_bad_values_name_the_bound_and_the_value(flags, message):
    with pytest.raises(UserError) as refusal:
        parse_arguments([*DATA, *flags.split()])
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--path_to_train a.tsv", "--path_to_train and --path_to_val, or --dataset_name"),
        ("--path_to_train a.tsv --dataset_name b", "leave out --path_to_train."),
        ("--dataset_name b --model_name auto", "needs --student_model_name_or_path"),
        ("--dataset_name b --model_name tinybert --classifier_size 9", "--classifier_size is for --model_name bilstm"),
        (
            "--dataset_name b --model_name tinybert --embedding_type svd",
            "--embedding_type svd is for --model_name bilstm",
        ),
        ("--dataset_name b --student_layers 0 1", "--student_layers is for --model_name tinybert"),
        ("--dataset_name b --save_augmented c.tsv", "--save_augmented needs --augmentation_rounds"),
        (
            "--path_to_train a.tsv --path_to_val b.tsv --augmentation_rounds 1 --save_augmented ./a.tsv",
            "--save_augmented would overwrite ./a.tsv",
        ),
        ("--dataset_name b --augmentation_rounds 1 --lwtr_p 0 --mr_p 0 --sis_p 0", "needs a method"),
        ("--dataset_name b --transfer_sentences 9 --augmentation_rounds 1", "leave out --augmentation_rounds"),
        ("--dataset_name b --vocabulary_size 9 --embedding_type bert", "another vocabulary than --embedding_type bert"),
        ("--dataset_name b --vocabulary_size 9 --student_checkpoint c.pt", "than --student_checkpoint brings along"),
        ("--dataset_name b --model_name tinybert --embedding_dropout 0.1", "--embedding_dropout is for --model_name"),
        ("--dataset_name b --student_model_name_or_path c --vocabulary_size 9", "--vocabulary_size describe a new"),
        ("--dataset_name b --teacher_checkpoint c.pt", "needs exactly one --teacher_model_name_or_path"),
    ],
)
def test_arguments_that_do_not_go_together(flags, message):
    with pytest.raises(UserError) as refusal:
        parse_arguments(flags.split())
    assert message in str(refusal.value)


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
        model, data, args = parse_arguments([str(path)])
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
    _, data_args, args = parse_arguments([name])
    paths = [data_args.path_to_train, data_args.path_to_val, data_args.path_to_test, *data_args.path_to_unlabeled]
    assert all(Path(path).is_file() for path in paths) and args.output_dir == "outputs/quickstart"


def test_a_corpus_beside_the_yaml_file_comes_first(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.tsv").touch()
    (tmp_path / "configs" / "run.yaml").write_text("path_to_train: train.tsv\npath_to_val: val.tsv\n")
    monkeypatch.chdir(tmp_path)
    _, data_args, _ = parse_arguments(["configs/run.yaml"])
    assert data_args.path_to_train == str(tmp_path / "configs" / "train.tsv") and data_args.path_to_val == "val.tsv"


@pytest.mark.parametrize("amx", [True, False])
def test_bf16_is_taken_where_it_is_quick(monkeypatch, amx):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": amx})
    assert DistillationArguments(use_cpu=True).bf16 == amx
    assert DistillationArguments(use_cpu=True, bf16=True).bf16
    assert not DistillationArguments(use_cpu=True, bf16=False).bf16
