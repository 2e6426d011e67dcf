import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForTokenClassification

from hf_distill.data.readers.common import SENTENCES
from hf_distill.data.tag_format import TagFormat
from hf_distill.runtime.tags import UserError
from hf_distill.students.save import save_model
from hf_distill.teachers.labels import SCRIPT_TEACHER_LABELS, match_labels
from hf_distill.teachers.teacher import find_prefix_space, find_scheme, load_teacher


def save(folder, tokenizer, **fields):
    model = tiny.bert(tokenizer, **fields)
    save_model(model, tokenizer, folder)
    return model.eval()


def test_labels_meet_by_name(tmp_path, tokenizer):
    """Another order, another name, and a class that is no tag."""
    tags = ["S-protein", "X", "B-protein", "O", "E-protein", "I-protein"]
    model = save(tmp_path, tokenizer, tags=tags)
    teacher = load_teacher(str(tmp_path), tiny.TAGS, tag_format=TagFormat(renamed=(("protein", "GENE"),)))
    assert teacher.labels.classes == ((3,), (2,), (5,), (4,), (0,))
    [logits] = teacher.predict([["the", "p53"]])
    ids = tokenizer([["the", "p53"]], is_split_into_words=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        own = model(ids).logits[0, [1, 2]]
    np.testing.assert_allclose(logits, own[:, [3, 2, 5, 4, 0]], atol=1e-5)


def test_entity_types_that_the_student_lacks_are_named(tmp_path, tokenizer, caplog):
    save(tmp_path, tokenizer, tags=["O", "B-LOC", "I-LOC", "B-GENE", "I-GENE"])
    load_teacher(str(tmp_path), ["O", "B-GENE", "I-GENE"])
    assert f"{tmp_path}: also finds LOC, which the student's labels lack" in caplog.text


def test_a_head_that_begins_mentions_with_i_is_read_as_iob1(tmp_path, tokenizer, caplog):
    tags = ["O", "B-GENE", "I-GENE"]
    save(tmp_path, tokenizer, tags=tags)
    teacher = load_teacher(str(tmp_path), tiny.TAGS)
    for best, scheme in (("B-GENE", "IOB2"), ("I-GENE", "IOB1")):
        teacher.model.classifier.bias[:] = torch.tensor([50.0 * (tag == best) for tag in tags])
        assert find_scheme(teacher, [["p53", "binds"]]).labels.neighbours == scheme
        assert ("begins mentions with I-" in caplog.text) == (scheme == "IOB1")


@pytest.mark.parametrize("blank", [True, False])
def test_a_teacher_is_read_as_it_was_fine_tuned(tmp_path, caplog, blank):
    tiny.save_reader(tmp_path, blank)
    rows = [{"tokens": ["the", "p53"], "tags": ["O", "S-GENE"]}, {"tokens": ["p53"], "tags": ["S-GENE"]}]
    development = Dataset.from_list(rows, features=SENTENCES)
    teacher = find_prefix_space(load_teacher(str(tmp_path), tiny.TAGS), development)
    found = [scores.argmax(-1).tolist() for scores in teacher.predict(development["tokens"])]
    assert found == [[0, 4], [4]]
    assert f"100.0% {'get the right label with' if blank else 'without'}" in caplog.text


def test_an_iobes_teacher_teaches_iob2_exactly(tmp_path, tokenizer):
    save(tmp_path, tokenizer)
    iobes = load_teacher(str(tmp_path), tiny.TAGS).predict([["p53", "binds", "BRCA1"]])[0]
    iob2 = load_teacher(str(tmp_path), ["O", "B-GENE", "I-GENE"]).predict([["p53", "binds", "BRCA1"]])[0]
    probability = np.exp(iobes) / np.exp(iobes).sum(-1, keepdims=True)
    merged = np.exp(iob2) / np.exp(iob2).sum(-1, keepdims=True)
    np.testing.assert_allclose(merged, np.stack([probability[:, 0], probability[:, [1, 4]].sum(-1),
                                                 probability[:, [2, 3]].sum(-1)], -1), atol=1e-5)  # fmt: skip


def test_a_bare_state_dict_with_the_reference_head(tmp_path, tokenizer):
    """The folder has no head of that size; the state dict has a pooler and position indices of an older release."""
    save(tmp_path, tokenizer)
    reference = tiny.bert(tokenizer, tags=SCRIPT_TEACHER_LABELS, seed=9)
    state = reference.state_dict() | {
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "bert.pooler.dense.weight": torch.zeros(24, 24),
    }
    torch.save(state, tmp_path / "state.pt")
    # A head without names: the configuration says LABEL_0 to LABEL_8.
    teacher = load_teacher(str(tmp_path), tiny.TAGS, checkpoint=str(tmp_path / "state.pt"))
    assert teacher.labels.classes == ((4,), (5,), (6,), (7,), (8,))
    torch.testing.assert_close(teacher.model.classifier.weight, reference.classifier.weight)


def test_an_encoder_without_a_head_is_no_teacher(tmp_path, tokenizer):
    save_model(tiny.bert(tokenizer).bert, tokenizer, tmp_path)
    with pytest.raises(UserError, match="--do_train_teacher"):
        load_teacher(str(tmp_path), tiny.TAGS)


def test_a_head_without_names_needs_them(tmp_path, tokenizer):
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, num_attention_heads=12, num_hidden_layers=1,
                        intermediate_size=8, max_position_embeddings=64, num_labels=5)  # fmt: skip
    save_model(BertForTokenClassification(config), tokenizer, tmp_path)
    with pytest.raises(UserError, match="--teacher_labels.*--do_train_teacher 1"):
        load_teacher(str(tmp_path), tiny.TAGS)
    with pytest.raises(UserError, match="lists 2 labels, but the teacher's head has 5"):
        load_teacher(str(tmp_path), tiny.TAGS, labels=["O", "B-GENE"])
    reverse = ["S-GENE", "E-GENE", "I-GENE", "B-GENE", "O"]
    assert load_teacher(str(tmp_path), tiny.TAGS, labels=reverse).labels.classes == ((4,), (3,), (2,), (1,), (0,))


@given(st.permutations(tiny.TAGS), st.lists(st.floats(-30, 30), min_size=5, max_size=5))
def test_merged_probabilities_add_up(teacher, logits):
    logits = torch.tensor(logits, dtype=torch.float64)
    p = dict(zip(teacher, logits.softmax(-1).tolist(), strict=True))
    merged = match_labels(teacher, ["O", "B-GENE", "I-GENE"])(logits).softmax(-1).tolist()
    assert merged == pytest.approx([p["O"], p["B-GENE"] + p["S-GENE"], p["I-GENE"] + p["E-GENE"]], rel=1e-9)


def test_mapped_logits_keep_their_place():
    logits = torch.arange(18.0).reshape(1, 2, 9)
    mapped = match_labels(SCRIPT_TEACHER_LABELS, tiny.TAGS)(logits)
    assert mapped.tolist() == [[[4, 5, 6, 7, 8], [13, 14, 15, 16, 17]]]
