import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TAGS, segments, spell
from transformers import BertConfig

from hf_distill.runtime.tags import UserError, convert_tags, entity_types, iob2_names, make_tags, model_tags
from hf_distill.teachers.labels import iob2_to_iobes_logits, label_map, teacher_tags

NINE = ["PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
IOB2_TAGS = ["O", "B-GENE", "I-GENE"]


def test_head_without_names_is_the_references():
    assert teacher_tags(BertConfig(num_labels=9), None) == NINE


def test_names_of_a_head():
    config = BertConfig(id2label={0: "B-protein", 1: "I-protein", 2: "O"})
    assert model_tags(config) == teacher_tags(config, None) == ["B-GENE", "I-GENE", "O"]
    assert teacher_tags(config, ["O", "B-Ggp", "I-Ggp"]) == ["O", "B-GENE", "I-GENE"]
    assert model_tags(BertConfig(num_labels=9)) is None
    # A saved student shows IOB2 names and keeps its true tags.
    assert model_tags(BertConfig(id2label=iob2_names(TAGS), tags=TAGS)) == TAGS


def test_labels_that_do_not_fit_the_head():
    with pytest.raises(UserError, match="lists 2 labels, but the teacher's head has 3"):
        teacher_tags(BertConfig(num_labels=3), ["O", "B-GENE"])
    with pytest.raises(UserError, match="5 labels without names.*--teacher_labels"):
        teacher_tags(BertConfig(num_labels=5), None)


def test_label_map_by_hand():
    assert label_map(NINE, TAGS) == [[4], [5], [6], [7], [8]]
    assert label_map(NINE, IOB2_TAGS) == [[4], [5, 8], [6, 7]]
    assert label_map(["I-GENE", "B-CHEMICAL", "O", "B-GENE", "I-CHEMICAL"], IOB2_TAGS) == [[2], [3], [0]]


def test_label_map_refuses_with_both_lists():
    teacher = ["O", "B-CHEMICAL", "I-CHEMICAL"]
    with pytest.raises(UserError) as refusal:
        label_map(teacher, IOB2_TAGS)
    assert all(tag in str(refusal.value) for tag in (", ".join(teacher), ", ".join(IOB2_TAGS), "--teacher_labels"))


def test_an_iob2_teacher_for_an_iobes_student_by_hand():
    assert label_map(IOB2_TAGS, TAGS) == [[0], [1], [2], [2], [1]]
    # O, B, I of two words: the first is B, and the second continues it, each with a probability of its own.
    answers = np.log([[0.1, 0.7, 0.2, 0.2, 0.7], [0.5, 0.1, 0.4, 0.4, 0.1]]) + [[3.0], [-2.0]]
    expected = [[0.1, 0.7 * 0.4, 0.2 * 0.4, 0.2 * 0.6, 0.7 * 0.6], [0.5, 0.0, 0.0, 0.4, 0.1]]
    np.testing.assert_allclose(np.exp(iob2_to_iobes_logits(answers, TAGS)), expected, atol=2e-6)


@given(parts=segments, data=st.data())
def test_what_an_iob2_teacher_is_sure_of_stays(parts, data):
    """Its best tags, with any probability of others beside them, are the same mentions in IOBES."""
    gold = spell(parts, "IOBES")
    if not gold:
        return
    tags = make_tags(entity_types(gold) or ["GENE"], "IOBES")
    names = list(iob2_names(tags).values())
    logits = np.zeros((len(gold), len(tags)))
    for word, tag in enumerate(convert_tags(gold, "IOB2")):
        logits[word, [label for label, name in enumerate(names) if name == tag]] = data.draw(st.floats(5, 30))
    shared = iob2_to_iobes_logits(logits, tags)
    np.testing.assert_allclose(np.exp(shared).sum(-1), 1, atol=1e-9)
    assert [tags[label] for label in shared.argmax(-1)] == gold
