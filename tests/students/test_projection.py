import torch
from transformers import BertConfig, BertForTokenClassification

from hf_distill.arguments import ModelArguments
from hf_distill.students.build import build_student
from hf_distill.students.projection import ProjectedStudent
from hf_distill.teachers.labels import SCRIPT_TEACHER_LABELS

MEBIBYTE = 2**20 / 4  # parameters in fp32


class ReferenceTokenizer:
    """What a builder asks of the reference's tokenizer."""

    pad_token_id = 0

    def __len__(self):
        return 28996


def test_tinybert_and_teacher_sizes_of_the_reference():
    with torch.device("meta"):
        args = ModelArguments(model_name="tinybert")
        student = build_student(args, SCRIPT_TEACHER_LABELS, ReferenceTokenizer())
        teacher = BertForTokenClassification(BertConfig(vocab_size=28996, num_labels=9))
        training = ProjectedStudent(student, 768)
    assert f"{student.num_parameters() / 1e6:.2f}" == "13.78"
    count = sum(parameter.numel() for parameter in training.parameters())
    assert (f"{count / 1e6:.2f}", f"{count / MEBIBYTE:.0f}") == ("14.26", "54")
    assert (f"{teacher.num_parameters() / 1e6:.1f}", f"{teacher.num_parameters() / MEBIBYTE:.0f}") == ("107.7", "411")
