from collections import Counter

import pytest
import tiny
import torch

from hf_distill.arguments import ModelArguments
from hf_distill.runtime.schemes import model_tags
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import build_student
from hf_distill.students.embeddings import reduce_embeddings, transfer_embeddings
from hf_distill.students.save import save_model
from hf_distill.students.vocabulary import learn_tokenizer


def test_a_student_takes_over_embeddings(tokenizer):
    teacher = tiny.teacher(tokenizer)
    table = teacher.model.bert.embeddings.word_embeddings.weight.detach()
    ids = torch.arange(5, 25)[None]
    whole = build_student(tiny.bilstm_arguments(embedding_type="bert"), tiny.TAGS, tokenizer, teacher).eval()
    torch.testing.assert_close(whole.embeddings(ids), teacher.model.bert.embeddings(ids))
    same = build_student(tiny.bilstm_arguments(embedding_type="svd", embedding_size=99), tiny.TAGS, tokenizer, teacher)
    assert same.config.embedding_size == 24, "no more dimensions than the teacher's"
    torch.testing.assert_close(same.embeddings.weight, table / table.std())
    small = build_student(tiny.bilstm_arguments(embedding_type="svd"), tiny.TAGS, tokenizer, teacher)
    assert small.embeddings.weight.std().item() == pytest.approx(1)
    # The best approximation of rank 8 keeps the inner products of its own factors.
    u, s, v = torch.linalg.svd(table.double(), full_matrices=False)
    best = (u[:, :8] * s[:8]) @ (u[:, :8] * s[:8]).T
    mine = small.embeddings.weight.detach().double()
    mine = mine @ mine.T
    torch.testing.assert_close(mine / mine.norm(), best / best.norm(), atol=1e-6, rtol=1e-4)


def test_a_tinybert_from_layers_of_the_teacher(tokenizer):
    teacher = tiny.teacher(tokenizer, layers=3)
    args = ModelArguments(model_name="tinybert", student_layers=[0, 1, 2])
    student = build_student(args, tiny.TAGS, tokenizer, teacher).eval()
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(student(ids).logits, teacher.model(ids).logits)
    fewer = build_student(ModelArguments(model_name="tinybert", student_layers=[0, 2]), tiny.TAGS, tokenizer, teacher)
    assert fewer.config.num_hidden_layers == 2
    own, theirs = fewer.bert.encoder.layer[1], teacher.model.bert.encoder.layer[2]
    torch.testing.assert_close(own.output.dense.weight, theirs.output.dense.weight)
    assert model_tags(fewer.config) == tiny.TAGS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_type": "svd"}, "give --teacher_model_name_or_path"),
        ({"model_name": "tinybert", "student_layers": [9]}, "layers 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(tokenizer, options, message):
    teacher = None if "embedding_type" in options else tiny.teacher(tokenizer)
    with pytest.raises(UserError, match=message):
        build_student(ModelArguments(**options), tiny.TAGS, tokenizer, teacher)


def test_word_embeddings_of_any_family_are_carried_over_to_any_tokenizer(tokenizer):
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    from hf_distill.teachers.labels import LabelMap
    from hf_distill.teachers.teacher import Teacher

    config = DistilBertConfig(vocab_size=len(tokenizer), dim=12, n_heads=2, n_layers=1, hidden_dim=8, num_labels=5)
    teacher = Teacher(DistilBertForTokenClassification(config), tokenizer, LabelMap(("O",), ("O",), ((0,),)), 64)
    assert build_student(tiny.bilstm_arguments(embedding_type="svd"), tiny.TAGS, tokenizer, teacher)
    student = build_student(tiny.bilstm_arguments(embedding_type="svd"), tiny.TAGS, tiny.byte_level(), teacher)
    assert student.config.vocab_size == len(tiny.byte_level())


def test_any_token_classifier_can_be_the_student(tmp_path, tokenizer):
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    config = DistilBertConfig(vocab_size=len(tokenizer), dim=12, n_heads=2, n_layers=1, hidden_dim=8, num_labels=3)
    save_model(DistilBertForTokenClassification(config), tokenizer, tmp_path)
    args = ModelArguments(model_name="auto", student_model_name_or_path=str(tmp_path))
    student = build_student(args, tiny.TAGS, tokenizer)
    assert type(student) is DistilBertForTokenClassification
    assert student.classifier.out_features == 5 and model_tags(student.config) == tiny.TAGS
    with pytest.raises(UserError, match="type bert.*distilbert"):
        build_student(
            ModelArguments(model_name="tinybert", student_model_name_or_path=str(tmp_path)), tiny.TAGS, tokenizer
        )


def test_a_loaded_head_meets_the_labels_by_name(tmp_path, tokenizer):
    student = build_student(tiny.bilstm_arguments(), tiny.TAGS, tokenizer)
    save_model(student, tokenizer, tmp_path)
    args = ModelArguments(model_name="bilstm", student_model_name_or_path=str(tmp_path))
    again = build_student(args, tiny.TAGS, tokenizer)
    assert torch.equal(again.lstm.weight_ih_l0, student.lstm.weight_ih_l0)
    assert torch.equal(again.classifier.weight, student.classifier.weight)
    # The same labels in another order.
    turned = build_student(args, tiny.TAGS[::-1], tokenizer)
    assert torch.equal(turned.classifier.weight, student.classifier.weight.flip(0))
    other = build_student(args, ["O", "B-DRUG", "I-DRUG"], tokenizer)
    assert torch.equal(other.lstm.weight_ih_l0, student.lstm.weight_ih_l0)
    # PyTorch draws a linear layer's weights from +-1/sqrt(its inputs).
    assert 0 < other.classifier.weight.abs().max() <= 12**-0.5
    assert model_tags(other.config) == ["O", "B-DRUG", "I-DRUG"]
    assert other(torch.ones(1, 4, dtype=torch.long)).logits.shape == (1, 4, 3)
    with pytest.raises(UserError, match="not evaluated"):
        build_student(args, ["O", "B-DRUG", "I-DRUG"], tokenizer, new_head=False)


def test_a_student_with_a_vocabulary_of_its_own(tmp_path):
    teacher, text = tiny.teacher(), tiny.corpus(300, seed=5)
    tokenizer = learn_tokenizer(teacher.tokenizer, text["tokens"], 150, tmp_path / "tokenizer")
    args = ModelArguments(embedding_type="svd", embedding_size=6, hidden_size=5, vocabulary_size=150)
    student = build_student(args, tiny.TAGS, tokenizer, teacher, text)
    weight = teacher.model.get_input_embeddings().weight.detach()
    words = Counter(word for words in text["tokens"] for word in words)
    expected = reduce_embeddings(transfer_embeddings(weight, teacher.tokenizer, tokenizer, words), 6)
    torch.testing.assert_close(student.get_input_embeddings().weight, expected)
    assert student.config.vocab_size == len(tokenizer)
    with pytest.raises(UserError, match="--vocabulary_size"):
        build_student(ModelArguments(embedding_type="bert"), tiny.TAGS, tokenizer, teacher, text)
