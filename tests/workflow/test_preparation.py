import pytest
import tiny

from hf_distill.data.corpora import Corpora
from hf_distill.parsing import parse_arguments
from hf_distill.runtime.tags import UserError
from hf_distill.workflow.preparation import baseline_arguments, check_metric, prepare_arguments, summary


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        ("", 4e-3),
        ("--preset original", 1e-3),
        ("--model_name tinybert", 3e-4),
        ("--model_name tinybert --lr_params 1e-5", 1e-5),
    ],
)
def test_each_student_has_its_learning_rate(flags, rate):
    arguments = parse_arguments([*tiny.DATA, *flags.split()])
    assert prepare_arguments(arguments).training.learning_rate == rate


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ([], "outputs/bilstm"),
        (["--model_name", "tinybert", "--comment", "first try"], "outputs/tinybert-first try"),
        (["--output_dir", "here"], "here"),
    ],
)
def test_default_output_folder(flags, folder):
    arguments = parse_arguments([*tiny.DATA, *flags])
    assert prepare_arguments(arguments).training.output_dir == folder


def test_what_was_given_stays_as_it_is():
    given, same = (parse_arguments([*tiny.DATA, "--model_name", "tinybert", "--use_cpu", "1"]) for _ in range(2))
    prepared = prepare_arguments(given)
    assert given == same and prepared.training.learning_rate == 3e-4 and given.training.learning_rate is None


def test_losses_between_layers_are_not_for_a_bilstm():
    """Whatever else of its recipe they would not go with."""
    with pytest.raises(UserError, match="--attention_loss_weight are for transformer students, not for a bilstm"):
        prepare_arguments(parse_arguments([*tiny.DATA, "--hidden_loss_weight", "1"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--teacher_model_name_or_path a b --model_name tinybert --hidden_loss_weight 1", "Of several teachers only"),
        ("--do_train_teacher 1 --distillation 0", "of which nothing is taken with --distillation 0"),
        ("--n_stacks 5 --batch_size 4", "read by one of --n_stacks 5.* larger --per_device_train_batch_size than 4"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_trained(flags, message):
    with pytest.raises(UserError, match=message):
        prepare_arguments(parse_arguments([*tiny.DATA, *flags.split()]))


def test_the_baseline_learns_for_as_many_steps():
    labelled, unlabelled = tiny.corpus(20, 1), tiny.corpus(60, 2, labelled=False)
    arguments = parse_arguments([*tiny.DATA, "--num_train_epochs", "3", "--preset", "original"])
    own = baseline_arguments(arguments, Corpora(labelled, labelled, tiny.TAGS, unlabeled=unlabelled)).training
    assert own.num_train_epochs == 12
    assert own.eval_strategy == own.save_strategy == "steps" and own.eval_steps == own.save_steps == 1 / 3
    own = baseline_arguments(arguments, Corpora(labelled, labelled, tiny.TAGS)).training
    assert own.num_train_epochs == 3 and own.eval_strategy == "epoch"


@pytest.mark.parametrize("flags", ["--distillation 0", "--do_train 0 --student_checkpoint student.pt"])
def test_a_baseline_is_compared_with_a_distilled_student_alone(flags):
    with pytest.raises(UserError, match="--do_train_baseline compares a distilled student"):
        prepare_arguments(parse_arguments([*tiny.DATA, "--do_train_baseline", "1", *flags.split()]))


def test_layers_of_the_teacher_have_no_baseline():
    flags = "--model_name auto --student_layers 0 2 --do_train_baseline 1".split()
    with pytest.raises(UserError, match="once more with --distillation 0"):
        prepare_arguments(parse_arguments([*tiny.DATA, *flags]))


ANSWERS = "--path_to_val val.tsv --path_to_annotations answers.jsonl --embedding_type train".split()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--distillation 0", "leave out it or --distillation 0"),
        ("--model_name tinybert --hidden_loss_weight 1", "has no hidden states to learn from"),
        ("--path_to_unlabeled text.txt", "Text without answers needs a teacher: leave out --path_to_unlabeled"),
        ("--embedding_type svd", "--embedding_type svd takes parts of a teacher.* --embeddings_from"),
        ("--model_name auto --student_layers 0", "--student_layers takes parts of a teacher"),
        ("--do_train_baseline 1", "--do_train_baseline takes labelled sentences"),
    ],
)
def test_what_answers_alone_cannot_do(flags, message):
    assert prepare_arguments(parse_arguments([*ANSWERS, "--alpha", "0.2"])).training.alpha == 0
    with pytest.raises(UserError, match=message):
        prepare_arguments(parse_arguments([*ANSWERS, *flags.split()]))


def test_confidence_is_that_of_answers():
    with pytest.raises(UserError, match="--annotation_confidence is that of --path_to_annotations"):
        prepare_arguments(parse_arguments([*tiny.DATA, "--annotation_confidence", "0.8"]))


def test_the_metric_is_measured_on_devel():
    rows = tiny.corpus(20, seed=0)
    corpora = Corpora(rows, rows, tiny.TAGS)

    def check(*flags):
        check_metric(parse_arguments([*tiny.DATA, *flags]).training, corpora)

    for metric in ("f1", "eval_f1", "loss", "GENE_f1", "f1_argmax"):
        check("--metric_for_best_model", metric)
    with pytest.raises(UserError, match="--metric_for_best_model LOC_f1 is not measured.*mentions of GENE"):
        check("--metric_for_best_model", "LOC_f1")
    check("--metric_for_best_model", "LOC_f1", "--eval_strategy", "no", "--load_best_model_at_end", "0")


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        (
            "--teacher_model_name_or_path a b --companions 2 --max_steps 7 --output_dir out",
            [
                "has each teacher label 100 sentences, once; what is stored already is not labelled again",
                "trains 2 small student(s) that teach beside the teacher",
                "trains the student, a bilstm of 5 stacks of 2 x 96, on the teachers' answers to 80 sentences, in "
                "about 7 steps, a stack reads each 2.8 times",
                "evaluates the student, exports it to ONNX, writes report.html",
            ],
        ),
        (
            "--distillation 0 --model_name tinybert --num_train_epochs 2",
            [
                "trains the student, a tinybert of 4 x 312, on the labels of 20 sentences, in about 2 steps",
                "evaluates the student, writes report.html",
            ],
        ),
        (
            "--path_to_annotations answers.jsonl --num_train_epochs 2 --batch_size 40 --preset recipe",
            [
                "trains the student, a bilstm of 5 stacks of 2 x 96, on stored answers to 80 sentences, in "
                "about 4 steps, a stack reads each 0.4 times",
                "evaluates the student, exports it to ONNX, writes report.html",
            ],
        ),
        (
            "--do_train 0 --student_model_name_or_path s --teacher_model_name_or_path t --measure_time 1",
            [
                "has the teacher label 20 sentences, once; what is stored already is not labelled again",
                "evaluates a trained student, measures its cost, writes report.html",
            ],
        ),
        (
            "--do_train 0 --do_train_teacher 1 --teacher_model_name_or_path e --teacher_num_train_epochs 3",
            ["fine-tunes e into a teacher on 20 labelled sentences, in 3 epochs"],
        ),
    ],
)
def test_a_run_says_what_it_will_do(flags, stages):
    rows, text = tiny.corpus(20, seed=0), tiny.corpus(60, seed=1, labelled=False)
    corpora = Corpora(rows, rows, tiny.TAGS, unlabeled=text)
    arguments = prepare_arguments(parse_arguments([*tiny.DATA, "--use_cpu", "1", *flags.split()]))
    assert [line[2:] for line in summary(arguments, corpora).splitlines() if line.startswith("- ")] == stages
