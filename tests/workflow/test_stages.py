import pytest
import tiny

from hf_distill.arguments import ModelArguments
from hf_distill.runtime.tags import UserError
from hf_distill.workflow.stages import student_tokenizer


def test_a_student_shares_its_first_teachers_tokenizer_unless_another_is_named(tmp_path, tokenizer):
    teachers, text, folder = [tiny.teacher(tokenizer), tiny.teacher()], tiny.corpus(5), tmp_path / "learnt"
    assert student_tokenizer(ModelArguments(), teachers, text, folder) is tokenizer
    tiny.byte_level().save_pretrained(tmp_path / "named")
    args = ModelArguments(tokenizer_name=str(tmp_path / "named"))
    assert student_tokenizer(args, teachers, text, folder).get_vocab() == tiny.byte_level().get_vocab()
    with pytest.raises(UserError, match="--tokenizer_name"):
        student_tokenizer(ModelArguments(), [], text, folder)
    assert not folder.exists(), "no vocabulary is learnt"
