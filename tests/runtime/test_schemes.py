"""Label names of every scheme and spelling; what they are read as."""

import pytest
from transformers import BertConfig

from hf_distill.runtime.schemes import SCHEMES, head_tags, model_tags, read_labels
from hf_distill.runtime.tags import UserError, iob2_names

IOBES = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]


def read(labels, **kwargs):
    return read_labels(dict.fromkeys(labels.split(" "), ""), **kwargs)


@pytest.mark.parametrize(
    ("labels", "scheme", "tags"),
    [
        ("O B-LOC I-LOC", "IOB2", "O B-LOC I-LOC"),
        ("O B-LOC I-LOC E-LOC S-LOC", "IOBES", "O B-LOC I-LOC E-LOC S-LOC"),
        ("O B-LOC I-LOC L-LOC U-LOC", "BILOU", "O B-LOC I-LOC E-LOC S-LOC"),
        ("O B-LOC M-LOC E-LOC W-LOC", "BMEWO", "O B-LOC I-LOC E-LOC S-LOC"),
        ("O B-LOC M-LOC E-LOC S-LOC", "BMES", "O B-LOC I-LOC E-LOC S-LOC"),
        ("O I-LOC I-PER", "IO", "O I-LOC I-PER"),
        ("O LOC PER creative-work", "flat", "O I-LOC I-PER I-creative-work"),
        ("U_LOC O B_LOC L_LOC", "BILOU", "S-LOC O B-LOC E-LOC"),
        ("LOC-B LOC-I O LOC-S LOC-E", "IOBES", "B-LOC I-LOC O S-LOC E-LOC"),
        ("B-creative-work I-creative-work O", "IOB2", "B-creative-work I-creative-work O"),
        ("O", "IOB2", "O"),
    ],
)
def test_every_scheme_and_spelling(labels, scheme, tags):
    assert read(labels) == (scheme, dict(zip(labels.split(" "), tags.split(" "), strict=True)))


def test_types_with_blanks():
    _, tags = read_labels({"B-geo loc": "", "I-geo loc": "", "O": ""})
    assert list(tags.values()) == ["B-geo loc", "I-geo loc", "O"]


def test_tags_without_a_type():
    assert read("B I O", entity_type="GENE") == ("IOB2", {"B": "B-GENE", "I": "I-GENE", "O": "O"})
    with pytest.raises(UserError, match="'B' names no entity type.*--entity_type"):
        read("B I O")
    assert read("B-LOC O", entity_type="GENE") == ("IOB2", {"B-LOC": "B-LOC", "O": "O"})


def test_a_tag_unlike_the_rest_is_named():
    labels = {"O": "", "B-LOC": "f.tsv:1: ", "LOC": "f.tsv:7: ", "I-LOC": "f.tsv:2: "}
    with pytest.raises(UserError, match=r"^f.tsv:7: unknown tag 'LOC'.*--input_scheme flat"):
        read_labels(labels)
    assert read_labels(labels, "flat")[1]["B-LOC"] == "I-B-LOC"
    with pytest.raises(UserError, match="unknown tag 'U-LOC' in IOBES"):
        read("B-LOC I-LOC E-LOC S-LOC U-LOC")
    with pytest.raises(UserError, match="unknown tag 'E-LOC' in IOB2"):
        read("B-LOC E-LOC O", scheme="IOB2")
    with pytest.raises(UserError, match="unknown tag 'LOC'"):
        read("LOC O", scheme="IOBES")


def test_what_can_be_read_in_several_ways_has_to_be_said():
    for labels in ("S-B S-I O", "B-E I-E O", "vitamin_B O", "type_I O"):
        with pytest.raises(UserError, match="can be read in several ways.*--input_scheme"):
            read(labels)
    assert read("S-B S-I O", scheme="IOB2") == ("IOB2", {"S-B": "B-S", "S-I": "I-S", "O": "O"})
    assert read("B-E I-E O", scheme="IOB2")[1]["B-E"] == "B-E"
    assert read("vitamin_B O", scheme="flat")[1]["vitamin_B"] == "I-vitamin_B"


@pytest.mark.parametrize(
    "labels",
    [
        "O|B-LOC |I-LOC ", "O | B-LOC", "o|b-loc|i-loc", "O|B:LOC|I:LOC", "O|B LOC", "O|B/LOC", "O|LOC:B",
        "O|BLOC|ILOC", "O|B\u2013LOC", "OUT|LOC", "LOC", "0|B-LOC", "O|B-LOC|I_LOC", "O|B-LOC\u00a0", "O|B-",
    ],
)  # fmt: skip
def test_slips_are_not_entity_types(labels):
    with pytest.raises(UserError, match="unknown tag"):
        read_labels(dict.fromkeys(labels.split("|"), ""))


def test_classes_that_are_no_tags():
    labels = ["PAD", "[CLS]", "<unk>", "O", "U-GENE", "B-GENE", "I-GENE", "L-GENE", "X"]
    tags = ["PAD", "[CLS]", "<unk>", "O", "S-GENE", "B-GENE", "I-GENE", "E-GENE", "X"]
    assert head_tags(labels) == tags


def test_tags_of_a_model():
    assert model_tags(BertConfig(id2label={0: "B-protein", 1: "I-protein", 2: "O"})) == ["B-protein", "I-protein", "O"]
    assert model_tags(BertConfig(num_labels=9)) is None
    # A saved student shows IOB2 names and keeps its true tags.
    assert model_tags(BertConfig(id2label=iob2_names(IOBES), tags=IOBES)) == IOBES


def test_letters_mean_letters_of_iobes():
    assert all(set(meaning.values()) <= set("BIES") for meaning in SCHEMES.values())
