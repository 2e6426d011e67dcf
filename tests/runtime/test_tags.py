import itertools
import re

import pytest
from hypothesis import given
from tiny import TAGS, segments, spell

from hf_distill.runtime.tags import (
    convert_tags,
    detect_scheme,
    find_invalid,
    iob2_names,
    make_tags,
    spans,
)

# Valid sequences as a regular expression; small letters are the tags of a second entity type.
GRAMMAR = {"IOB2": "(O|BI*|bi*)*", "IOBES": "(O|S|s|BI*E|bi*e)*"}


def is_valid(tags, scheme):
    letters = "".join(tag[0].lower() if tag.endswith("CHEMICAL") else tag[0] for tag in tags)
    return re.fullmatch(GRAMMAR[scheme], letters) is not None


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


def test_make_tags_and_detect_scheme():
    assert make_tags(["GENE"], "IOBES") == TAGS
    assert make_tags(["CHEMICAL", "GENE"], "IOB2") == ["O", "B-CHEMICAL", "I-CHEMICAL", "B-GENE", "I-GENE"]
    assert detect_scheme(["O", "S-GENE"]) == detect_scheme(["B-GENE", "E-GENE"]) == "IOBES"
    # An entity type that begins with S or E says nothing about the scheme.
    assert detect_scheme(["O", "B-E-COLI", "I-S-LAYER", "B-S"]) == "IOB2"


def test_iob2_names():
    assert list(iob2_names(TAGS).values()) == ["O", "B-GENE", "I-GENE", "I-GENE", "B-GENE"]
    tricky = ["S-TYPE-S-1", "E-TYPE-E-1", "B-S-LAYER", "I-E-COLI", "S-S-LAYER", "E-E-COLI"]
    assert iob2_names(tricky) == {
        0: "B-TYPE-S-1",
        1: "I-TYPE-E-1",
        2: "B-S-LAYER",
        3: "I-E-COLI",
        4: "B-S-LAYER",
        5: "I-E-COLI",
    }
