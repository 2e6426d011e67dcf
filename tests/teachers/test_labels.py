from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TAGS, segments, spell
from transformers import BertConfig

from hf_distill.data.tag_format import TagFormat
from hf_distill.runtime.decoding import constrained_decode
from hf_distill.runtime.tags import UserError, entity_types, make_tags, spans
from hf_distill.teachers.labels import begins_with_inside, match_labels, teacher_tags

NINE = ["PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
IOB2_TAGS = ["O", "B-GENE", "I-GENE"]


def convert(probabilities, teacher, *options):
    """The converted probabilities of a sentence."""
    match = match_labels(teacher, TAGS, *options)
    [converted] = match.convert([np.log(np.array(probabilities, dtype=np.float32))])
    return np.exp(converted) / np.exp(converted).sum(-1, keepdims=True)


def test_head_without_names_is_the_references():
    assert teacher_tags(BertConfig(num_labels=9), None, TagFormat()) == NINE


def test_names_of_a_head():
    config = BertConfig(id2label={0: "B-protein", 1: "I-protein", 2: "O"})
    assert teacher_tags(config, None, TagFormat()) == ["B-protein", "I-protein", "O"]
    assert teacher_tags(config, None, TagFormat(renamed=(("protein", "GENE"),))) == ["B-GENE", "I-GENE", "O"]
    assert teacher_tags(config, ["O", "U_Ggp", "L_Ggp"], TagFormat(aliases="biomedical")) == ["O", "S-GENE", "E-GENE"]


def test_labels_that_do_not_fit_the_head():
    with pytest.raises(UserError, match="lists 2 labels, but the teacher's head has 3"):
        teacher_tags(BertConfig(num_labels=3), ["O", "B-GENE"], TagFormat())
    with pytest.raises(UserError, match="5 labels without names.*--teacher_labels"):
        teacher_tags(BertConfig(num_labels=5), None, TagFormat())


def test_classes_by_hand():
    assert match_labels(NINE, TAGS).classes == ((4,), (5,), (6,), (7,), (8,))
    assert match_labels(NINE, IOB2_TAGS).classes == ((4,), (5, 8), (6, 7))
    other = match_labels(["I-GENE", "B-CHEMICAL", "O", "B-GENE", "I-CHEMICAL"], IOB2_TAGS)
    assert other.classes == ((2,), (3,), (0,))
    assert other.foreign == (1, 4)


def test_refusal_lists_the_labels_of_both():
    teacher = ["O", "B-CHEMICAL", "I-CHEMICAL"]
    with pytest.raises(UserError) as refusal:
        match_labels(teacher, IOB2_TAGS)
    assert all(tag in str(refusal.value) for tag in (", ".join(teacher), ", ".join(IOB2_TAGS), "--teacher_labels"))
    with pytest.raises(UserError, match="--rename_types Gene=GENE"):
        match_labels(["O", "B-Gene", "I-Gene"], IOB2_TAGS)
    with pytest.raises(UserError, match="No label is O"):
        match_labels(["B-GENE", "I-GENE"], IOB2_TAGS)


def test_teachers_without_e_and_s_by_hand():
    words = [[0.1, 0.7, 0.2], [0.3, 0.1, 0.6], [0.6, 0.1, 0.3]]  # O, B, I: decided are B, I, O
    # A mention goes on at the second word and ends there.
    converted = convert(words, IOB2_TAGS)
    expected = [[0.1, 0.7, 0.2, 0, 0], [0.3, 0, 0, 0.6, 0.1], [0.6, 0, 0, 0.3, 0.1]]
    np.testing.assert_allclose(converted, expected, atol=2e-3)
    # In IOB1 I begins a mention, too, if the word before is in none: that of the first and of the fourth word.
    converted = convert([*words, [0.1, 0.2, 0.7]], IOB2_TAGS, True)
    expected[0] = [0.1, 0.9, 0, 0, 0]
    expected[2] = [0.6, 0.1, 0.3, 0, 0]
    np.testing.assert_allclose(converted, [*expected, [0.1, 0, 0, 0, 0.9]], atol=2e-3)


def test_which_heads_begin_mentions_with_i():
    def head(*sentences):
        return [np.eye(3)[["OBI".index(letter) for letter in sentence]] for sentence in sentences]

    tags = ["O", "B-GENE", "I-GENE"]
    assert not begins_with_inside(head("OBIIO", "BBOB"), tags)
    assert begins_with_inside(head("OIIBO", "IOIO"), tags)
    assert not begins_with_inside(head("OBIO", "BOI"), tags), "a slip"
    assert not begins_with_inside([], tags)


@pytest.mark.parametrize("teacher", [["O", "I-GENE", "B-GENE"], ["O", "I-GENE"]])
def test_a_mention_that_begins_with_i(teacher):
    """IOB1 and IO: a probability of 0.988 for I between two O is a mention."""
    sure, other = [0.01, 0.988, 0.002][: len(teacher)], [0.98, 0.01, 0.01][: len(teacher)]
    logits = np.log(np.array([other, sure, other, sure, sure], dtype=np.float32))
    [converted] = match_labels(teacher, TAGS, True).convert([logits])
    assert constrained_decode([converted], TAGS) == [[0, 4, 0, 1, 3]]
    [converted] = match_labels(teacher, IOB2_TAGS, True).convert([logits])
    assert constrained_decode([converted], IOB2_TAGS) == [[0, 1, 0, 1, 2]]


def spell_iob1(parts):
    tags, previous = [], None
    for entity, length in parts:
        first = "B" if entity == previous else "I"
        tags += [f"{first if not word else 'I'}-{entity}" if entity else "O" for word in range(length)]
        previous = entity
    return tags


@pytest.mark.parametrize("scheme", ["IOBES", "IOB2", "IOB1"])
@given(parts=segments, data=st.data())
def test_what_a_teacher_is_sure_of_stays(scheme, parts, data):
    """Its best tags, with any probability of others beside them, are the same mentions in IOBES."""
    gold = spell(parts, "IOBES")
    if not gold:
        return
    tags = make_tags(entity_types(gold) or ["GENE"], "IOBES")
    own = spell_iob1(parts) if scheme == "IOB1" else spell(parts, scheme)
    head = make_tags(entity_types(tags), "IOBES" if scheme == "IOBES" else "IOB2")
    logits = np.zeros((len(gold), len(head)), dtype=np.float32)
    for word, tag in enumerate(own):
        logits[word, head.index(tag)] = data.draw(st.floats(5, 30))
    [converted] = match_labels(head, tags, scheme == "IOB1").convert([logits])
    np.testing.assert_allclose(
        np.exp(converted - np.logaddexp.reduce(converted, -1, keepdims=True)).sum(-1), 1, atol=1e-5
    )
    assert [tags[label] for label in converted.argmax(-1)] == gold


@pytest.mark.parametrize("scheme", ["IOBES", "IOB2"])
@pytest.mark.parametrize("head", [make_tags(["GENE", "RNA"], "IOB2"), ["O", "I-GENE", "I-RNA"]], ids=["IOB2", "IO"])
def test_the_best_valid_sequence_stays(head, scheme):
    """Decoded in the student's scheme a head finds the mentions that it finds in its own."""
    random = np.random.default_rng(1)
    shapes = [(random.integers(1, 12), len(head)) for _ in range(200)]
    sentences = [random.normal(scale=3, size=shape).astype(np.float32) for shape in shapes]
    tags = make_tags(["GENE", "RNA"], scheme)
    found = constrained_decode(match_labels(head, tags).convert(sentences), tags)
    if "B-GENE" in head:
        own = [spans([head[label] for label in labels]) for labels in constrained_decode(sentences, head)]
    else:
        groups = [groupby(enumerate(scores.argmax(-1)), lambda pair: pair[1]) for scores in sentences]
        words = [[(head[label][2:], [word for word, _ in group]) for label, group in each] for each in groups]
        own = [[(entity, each[0], each[-1] + 1) for entity, each in sentence if entity] for sentence in words]
    same = [spans([tags[label] for label in labels]) == mentions for labels, mentions in zip(found, own, strict=True)]
    assert np.mean(same) > 0.99  # a thousandth of a probability stays beside what is decided


def test_sentences_do_not_see_each_other():
    match = match_labels(IOB2_TAGS, TAGS)
    random = np.random.default_rng(0)
    sentences = [random.normal(size=(words, 3)).astype(np.float32) for words in (1, 5, 2, 7)]
    for alone, beside in zip([match.convert([each])[0] for each in sentences], match.convert(sentences), strict=True):
        np.testing.assert_allclose(alone, beside, rtol=1e-5)
    assert match.convert([]) == []


def test_probability_of_other_entity_types():
    """It is left out, unless the head finds a mention of such a type there: then it counts as O."""
    match = match_labels(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], ["O", "B-PER", "I-PER"])
    logits = torch.tensor([[0.3, 0.4, 0.1, 0.2, 0.0], [0.013, 0.02, 0.004, 0.9, 0.063]]).log()
    expected = torch.tensor([[0.375, 0.5, 0.125], [0.976, 0.02, 0.004]])
    torch.testing.assert_close(match(logits).softmax(-1), expected)
