import pytest
import tiny

from hf_distill.parsing import parse_arguments
from hf_distill.runtime.tags import UserError
from hf_distill.students.save import save_model
from hf_distill.workflow.preparation import prepare_arguments


@pytest.mark.parametrize(("tags", "scheme"), [(["O", "B-GENE", "I-GENE"], "IOB2"), (tiny.TAGS, "IOBES")])
def test_a_student_of_a_live_teacher_has_its_tag_scheme(tmp_path, tokenizer, tags, scheme):
    save_model(tiny.bert(tokenizer, tags), tokenizer, tmp_path)
    flags = [*tiny.DATA, "--teacher_model_name_or_path", str(tmp_path), "--use_cpu", "1"]
    live = prepare_arguments(parse_arguments([*flags, "--model_name", "tinybert"]))
    assert live.data.tag_scheme == scheme
    # Labels that the user gives count more than the configuration.
    named = [*flags, "--model_name", "tinybert", "--teacher_labels", "O", "B-GENE", "I-GENE"]
    assert prepare_arguments(parse_arguments(named)).data.tag_scheme == "IOB2"
    assert prepare_arguments(parse_arguments(flags)).data.tag_scheme == "IOBES", "a stored teacher teaches IOBES"


@pytest.mark.parametrize(
    ("flags", "rate"), [("", 1e-3), ("--model_name tinybert", 3e-4), ("--model_name tinybert --lr_params 1e-5", 1e-5)]
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
    given, same = (parse_arguments([*tiny.DATA, "--use_cpu", "1"]) for _ in range(2))
    prepared = prepare_arguments(given)
    assert given == same and prepared.training.learning_rate == 1e-3 and given.training.learning_rate is None


@pytest.mark.parametrize("flags", ["--distillation 0", "--do_train 0 --student_checkpoint student.pt"])
def test_a_baseline_is_compared_with_a_distilled_student_alone(flags):
    with pytest.raises(UserError, match="--do_train_baseline compares a distilled student"):
        prepare_arguments(parse_arguments([*tiny.DATA, "--do_train_baseline", "1", *flags.split()]))
