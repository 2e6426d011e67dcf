import functools
import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import segments, spell
from transformers import BertConfig

from hf_distill.labels import (
    UserError,
    constrained_decode,
    convert_tags,
    detect_scheme,
    entity_types,
    find_invalid,
    iob2_names,
    label_map,
    make_tags,
    model_tags,
    normalise_tag,
    share_out,
    spans,
    teacher_tags,
)
from hf_distill.teacher import map_logits

NINE = ["PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
IOB2_TAGS = ["O", "B-GENE", "I-GENE"]
IOBES_TAGS = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]

# Valid sequences as a regular expression; small letters are the tags of a second entity type.
GRAMMAR = {"IOB2": "(O|BI*|bi*)*", "IOBES": "(O|S|s|BI*E|bi*e)*"}


def is_valid(tags, scheme):
    letters = "".join(tag[0].lower() if tag.endswith("CHEMICAL") else tag[0] for tag in tags)
    return re.fullmatch(GRAMMAR[scheme], letters) is not None


@functools.cache
def valid_sequences(types, scheme, words):
    tags = make_tags(types, scheme)
    every = itertools.product(range(len(tags)), repeat=words)
    return np.array([ids for ids in every if is_valid([tags[label] for label in ids], scheme)])


def test_conversion_by_hand():
    iob2 = ["B-GENE", "O", "B-GENE", "I-GENE", "B-GENE", "B-CHEMICAL", "I-CHEMICAL", "I-CHEMICAL"]
    iobes = ["S-GENE", "O", "B-GENE", "E-GENE", "S-GENE", "B-CHEMICAL", "I-CHEMICAL", "E-CHEMICAL"]
    assert convert_tags(iob2, "IOBES") == iobes
    assert convert_tags(iobes, "IOB2") == iob2
    assert spans(iobes) == spans(iob2) == [("GENE", 0, 1), ("GENE", 2, 4), ("GENE", 4, 5), ("CHEMICAL", 5, 8)]


@given(segments)
def test_conversion_is_exact_both_ways(parts):
    iob2, iobes = spell(parts, "IOB2"), spell(parts, "IOBES")
    assert find_invalid(iob2, "IOB2") is None
    assert find_invalid(iobes, "IOBES") is None
    assert convert_tags(iob2, "IOBES") == convert_tags(iobes, "IOBES") == iobes
    assert convert_tags(iobes, "IOB2") == convert_tags(iob2, "IOB2") == iob2


@pytest.mark.parametrize("scheme", ["IOB2", "IOBES"])
def test_find_invalid_agrees_with_the_grammar(scheme):
    tags = make_tags(["CHEMICAL", "GENE"], scheme)
    for words in range(5):
        for sequence in itertools.product(tags, repeat=words):
            assert (find_invalid(sequence, scheme) is None) == is_valid(sequence, scheme), sequence


@pytest.mark.parametrize(
    ("scheme", "tags", "index"),
    [
        ("IOB2", "I-GENE", 0),
        ("IOB2", "O I-GENE", 1),
        ("IOB2", "B-GENE O I-GENE", 2),
        ("IOB2", "B-GENE I-GENE I-CHEMICAL", 2),
        ("IOBES", "O I-GENE E-GENE", 1),
        ("IOBES", "S-GENE E-GENE", 1),
        ("IOBES", "B-GENE E-GENE I-GENE", 2),
        # Never finished: the fault is where the mention begins.
        ("IOBES", "B-GENE", 0),
        ("IOBES", "S-GENE O B-GENE I-GENE I-GENE", 2),
        ("IOBES", "B-GENE E-GENE B-GENE I-GENE O", 2),
        ("IOBES", "O B-GENE B-GENE E-GENE", 1),
        ("IOBES", "O B-GENE I-GENE S-GENE", 1),
        ("IOBES", "O B-GENE E-CHEMICAL", 1),
    ],
)
def test_first_fault_of_a_sequence(scheme, tags, index):
    tags = tags.split()
    found, message = find_invalid(tags, scheme)
    assert found == index
    assert tags[index] in message


@pytest.mark.parametrize(
    ("tag", "normal"),
    [
        ("B-PROTEIN", "B-GENE"),
        ("I-protein", "I-GENE"),
        ("S-Ggp", "S-GENE"),
        ("E-cl", "E-CELL_TYPE"),
        ("B-ChEBI", "B-CHEMICAL"),
        ("B-Species", "B-TAXON"),
        ("I-CellLine", "I-CELL_LINE"),
        ("B-gene", "B-GENE"),
        ("B-CELL_LINE", "B-CELL_LINE"),
        ("O", "O"),
        ("PAD", "PAD"),
    ],
)
def test_entity_aliases(tag, normal):
    assert normalise_tag(tag) == normal


def test_make_tags_and_detect_scheme():
    assert make_tags(["GENE"], "IOBES") == IOBES_TAGS
    assert make_tags(["CHEMICAL", "GENE"], "IOB2") == ["O", "B-CHEMICAL", "I-CHEMICAL", "B-GENE", "I-GENE"]
    assert detect_scheme(["O", "S-GENE"]) == detect_scheme(["B-GENE", "E-GENE"]) == "IOBES"
    # An entity type that begins with S or E says nothing about the scheme.
    assert detect_scheme(["O", "B-E-COLI", "I-S-LAYER", "B-S"]) == "IOB2"


def test_iob2_names():
    assert list(iob2_names(IOBES_TAGS).values()) == ["O", "B-GENE", "I-GENE", "I-GENE", "B-GENE"]
    tricky = ["S-TYPE-S-1", "E-TYPE-E-1", "B-S-LAYER", "I-E-COLI", "S-S-LAYER", "E-E-COLI"]
    assert iob2_names(tricky) == {
        0: "B-TYPE-S-1",
        1: "I-TYPE-E-1",
        2: "B-S-LAYER",
        3: "I-E-COLI",
        4: "B-S-LAYER",
        5: "I-E-COLI",
    }


def test_head_without_names_is_the_references():
    assert teacher_tags(BertConfig(num_labels=9), None) == NINE


def test_names_of_a_head():
    config = BertConfig(id2label={0: "B-protein", 1: "I-protein", 2: "O"})
    assert model_tags(config) == teacher_tags(config, None) == ["B-GENE", "I-GENE", "O"]
    assert teacher_tags(config, ["O", "B-Ggp", "I-Ggp"]) == ["O", "B-GENE", "I-GENE"]
    assert model_tags(BertConfig(num_labels=9)) is None
    # A saved student shows IOB2 names and keeps its true tags.
    assert model_tags(BertConfig(id2label=iob2_names(IOBES_TAGS), tags=IOBES_TAGS)) == IOBES_TAGS


def test_labels_that_do_not_fit_the_head():
    with pytest.raises(UserError, match="lists 2 labels, but the teacher's head has 3"):
        teacher_tags(BertConfig(num_labels=3), ["O", "B-GENE"])
    with pytest.raises(UserError, match="5 labels without names.*--teacher_labels"):
        teacher_tags(BertConfig(num_labels=5), None)


def test_label_map_by_hand():
    assert label_map(NINE, IOBES_TAGS) == [[4], [5], [6], [7], [8]]
    assert label_map(NINE, IOB2_TAGS) == [[4], [5, 8], [6, 7]]
    assert label_map(["I-GENE", "B-CHEMICAL", "O", "B-GENE", "I-CHEMICAL"], IOB2_TAGS) == [[2], [3], [0]]


def test_label_map_refuses_with_both_lists():
    teacher = ["O", "B-CHEMICAL", "I-CHEMICAL"]
    with pytest.raises(UserError) as refusal:
        label_map(teacher, IOB2_TAGS)
    assert all(tag in str(refusal.value) for tag in (", ".join(teacher), ", ".join(IOB2_TAGS), "--teacher_labels"))


def test_an_iob2_teacher_for_an_iobes_student_by_hand():
    assert label_map(IOB2_TAGS, IOBES_TAGS) == [[0], [1], [2], [2], [1]]
    # O, B, I of two words: the first is B, and the second continues it, each with a probability of its own.
    answers = np.log([[0.1, 0.7, 0.2, 0.2, 0.7], [0.5, 0.1, 0.4, 0.4, 0.1]]) + [[3.0], [-2.0]]
    expected = [[0.1, 0.7 * 0.4, 0.2 * 0.4, 0.2 * 0.6, 0.7 * 0.6], [0.5, 0.0, 0.0, 0.4, 0.1]]
    np.testing.assert_allclose(np.exp(share_out(answers, IOBES_TAGS)), expected, atol=2e-6)


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
    shared = share_out(logits, tags)
    np.testing.assert_allclose(np.exp(shared).sum(-1), 1, atol=1e-9)
    assert [tags[label] for label in shared.argmax(-1)] == gold


@given(st.permutations(IOBES_TAGS), st.lists(st.floats(-30, 30), min_size=5, max_size=5))
def test_merged_probabilities_add_up(teacher, logits):
    logits = torch.tensor(logits, dtype=torch.float64)
    p = dict(zip(teacher, logits.softmax(-1).tolist(), strict=True))
    merged = map_logits(logits, label_map(teacher, IOB2_TAGS)).softmax(-1).tolist()
    assert merged == pytest.approx([p["O"], p["B-GENE"] + p["S-GENE"], p["I-GENE"] + p["E-GENE"]], rel=1e-9)


def test_mapped_logits_keep_their_place():
    logits = torch.arange(18.0).reshape(1, 2, 9)
    assert map_logits(logits, label_map(NINE, IOBES_TAGS)).tolist() == [[[4, 5, 6, 7, 8], [13, 14, 15, 16, 17]]]


def test_constrained_decoding_by_hand():
    # Word by word the best tags are B-GENE O, which is no valid sequence. S-GENE O scores 4.5, B-GENE E-GENE 4.0.
    logits = np.array([[0.0, 3.0, 0.0, 0.0, 2.5], [2.0, 0.0, 0.0, 1.0, 0.0]])
    assert constrained_decode([logits], IOBES_TAGS) == [[4, 0]]
    # With a better E-GENE, still not the second word's best, the long mention wins: 3.0 + 1.75.
    logits[1, 3] = 1.75
    assert constrained_decode([logits, logits[:1], logits[:0]], IOBES_TAGS) == [[1, 3], [4], []]


@given(
    st.sampled_from(["IOB2", "IOBES"]),
    st.sampled_from([("GENE",), ("CHEMICAL", "GENE")]),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_constrained_decoding_finds_the_best_valid_sequence(scheme, types, words, seed):
    tags = make_tags(types, scheme)
    logits = np.random.default_rng(seed).normal(scale=3, size=(words, len(tags)))
    allowed = valid_sequences(types, scheme, words)
    best = allowed[logits[np.arange(words), allowed].sum(-1).argmax()]
    assert constrained_decode([logits], tags) == [best.tolist()]


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_constrained_decoding_of_long_sentences_is_valid(words, seed):
    tags = make_tags(["CHEMICAL", "GENE"], "IOBES")
    logits = np.random.default_rng(seed).integers(-2, 3, size=(words, len(tags)))  # with many ties
    [decoded] = constrained_decode([logits], tags)
    assert len(decoded) == words
    assert find_invalid([tags[label] for label in decoded], "IOBES") is None
