import pytest
import tiny

from hf_distill.arguments import ModelArguments
from hf_distill.runtime.tags import UserError
from hf_distill.students.save import save_model
from hf_distill.workflow.stages import load_student_tokenizer, teacher_scheme


@pytest.mark.parametrize(("tags", "scheme"), [(["O", "B-GENE", "I-GENE"], "IOB2"), (tiny.TAGS, "IOBES")])
def test_a_student_speaks_the_scheme_of_the_teacher_that_it_asks(tmp_path, tokenizer, tags, scheme):
    save_model(tiny.bert(tokenizer, tags), tokenizer, tmp_path)
    assert teacher_scheme(ModelArguments(teacher_model_name_or_path=[str(tmp_path)])) == scheme
    # What the user says of the head counts more than its configuration.
    named = ModelArguments(teacher_model_name_or_path=[str(tmp_path)], teacher_labels=["O", "B-GENE", "I-GENE"])
    assert teacher_scheme(named) == "IOB2"


def test_a_student_shares_its_first_teachers_tokenizer_unless_another_is_named(tmp_path, tokenizer):
    teachers, text, folder = [tiny.teacher(tokenizer), tiny.teacher()], tiny.corpus(5), tmp_path / "learnt"
    assert load_student_tokenizer(ModelArguments(), teachers, text, folder) is tokenizer
    tiny.byte_level().save_pretrained(tmp_path / "named")
    args = ModelArguments(tokenizer_name=str(tmp_path / "named"))
    assert load_student_tokenizer(args, teachers, text, folder).get_vocab() == tiny.byte_level().get_vocab()
    with pytest.raises(UserError, match="--tokenizer_name"):
        load_student_tokenizer(ModelArguments(), [], text, folder)
    assert not folder.exists(), "no vocabulary is learnt"
