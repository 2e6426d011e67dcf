import logging

import pytest
from tiny import DATA

from hf_distill.arguments import DataArguments
from hf_distill.parsing import parse_arguments
from hf_distill.runtime.tags import UserError
from hf_distill.training_arguments import DistillationArguments
from hf_distill.workflow.preparation import prepare_arguments


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
        training = parse_arguments([*DATA, *flags.split()]).training
    assert training.eval_strategy == training.save_strategy == eval_strategy
    assert training.save_steps == save_steps
    assert training.save_total_limit == 2
    assert (f"becomes {save_steps}" in caplog.text) == (f"--save_steps {save_steps}" not in flags)


def test_defaults():
    original = [*DATA, "--preset", "original"]
    model, data, _, _ = parse_arguments(original)
    assert (model.model_name, model.embedding_size, data.tag_scheme) == ("bilstm", 300, "IOBES")
    training = prepare_arguments(parse_arguments(original)).training
    assert (training.learning_rate, training.per_device_train_batch_size) == (1e-3, 32)
    assert training.lr_scheduler_type == "linear"
    assert (training.label_smoothing_factor, training.alpha, training.min_teacher_f1) == (0.1, 0, 0.1)
    assert training.metric_for_best_model == "f1" and training.greater_is_better


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
        ("--n_stacks 0", "--n_stacks must be positive, got 0."),
        ("--classifier_size -1", "--classifier_size must not be negative, got -1."),
        ("--max_seq_length 8", "--max_seq_length must be at least 16, got 8."),
        ("--word_feature_rows 20001", "--word_feature_rows must be from 0 to 20,000, got 20001."),
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
        ("--path_to_train a.tsv", "--path_to_train and --path_to_val (or --validation_fraction), or"),
        ("--path_to_train a.tsv --dataset_name b", "leave out --path_to_train."),
        ("--dataset_name b --model_name auto", "needs --student_model_name_or_path"),
        ("--dataset_name b --model_name tinybert --classifier_size 9", "--classifier_size is for --model_name bilstm"),
        (
            "--dataset_name b --model_name tinybert --embedding_type svd",
            "--embedding_type svd is for --model_name bilstm",
        ),
        (
            "--dataset_name b --model_name tinybert --word_feature_rows 9",
            "--word_feature_rows is for --model_name bilstm",
        ),
        ("--dataset_name b --model_name tinybert --n_stacks 2", "--n_stacks is for --model_name bilstm"),
        ("--dataset_name b --student_layers 0 1", "--student_layers is for --model_name auto or tinybert"),
        (
            "--dataset_name b --model_name auto --student_layers 0 --n_layers 3",
            "the teacher's sizes; leave out --n_layers",
        ),
        ("--dataset_name b --save_augmented c.tsv --preset original", "--save_augmented needs --augmentation_rounds"),
        (
            "--path_to_train a.tsv --path_to_val b.tsv --augmentation_rounds 1 --save_augmented ./a.tsv",
            "--save_augmented would overwrite ./a.tsv",
        ),
        ("--dataset_name b --augmentation_rounds 1 --lwtr_p 0 --mr_p 0 --sis_p 0", "needs a method"),
        ("--dataset_name b --transfer_sentences 9 --augmentation_rounds 1", "leave out --augmentation_rounds"),
        ("--dataset_name b --vocabulary_size 9 --prune_vocabulary 1", "is for a tokenizer that is not learnt"),
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


@pytest.mark.parametrize(("instructions", "quick"), [("amx_bf16", True), ("avx512_bf16", True), ("avx512_vnni", False)])
def test_bf16_is_taken_where_it_is_quick(monkeypatch, instructions, quick):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {instructions: True}, raising=False)
    assert DistillationArguments(use_cpu=True).bf16 == quick
    assert DistillationArguments(use_cpu=True, bf16=True).bf16
    assert not DistillationArguments(use_cpu=True, bf16=False).bf16


@pytest.mark.parametrize("pairs", [["GENE"], ["=GENE"], ["a= "], ["a=O"], ["a=b", "a=c"]])
def test_pairs_of_entity_types(pairs):
    with pytest.raises(ValueError, match="--rename_types"):
        DataArguments("train.tsv", "val.tsv", rename_types=pairs)


def test_an_export_can_be_called_off():
    """A recipe's file asks for one, and the command line has the last word."""
    assert DistillationArguments("out", export="none").export is None
