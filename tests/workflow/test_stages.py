import pytest
import tiny

from hf_distill.arguments import ModelArguments
from hf_distill.data.corpora import Corpora
from hf_distill.runtime.tags import UserError
from hf_distill.workflow.stages import student_tokenizer


def test_a_student_shares_its_first_teachers_tokenizer_unless_another_is_named(tmp_path, tokenizer):
    teachers, folder = [tiny.teacher(tokenizer), tiny.teacher()], tmp_path / "learnt"
    corpora = Corpora(tiny.corpus(5), tiny.corpus(5), tiny.TAGS)
    assert student_tokenizer(ModelArguments(), teachers, corpora, folder) is tokenizer
    tiny.byte_level().save_pretrained(tmp_path / "named")
    args = ModelArguments(tokenizer_name=str(tmp_path / "named"))
    assert student_tokenizer(args, teachers, corpora, folder).get_vocab() == tiny.byte_level().get_vocab()
    with pytest.raises(UserError, match="--tokenizer_name"):
        student_tokenizer(ModelArguments(), [], corpora, folder)
    assert not folder.exists(), "no vocabulary is learnt"
