import json
import math
from pathlib import Path

import pytest

from hf_distill.arguments import DataArguments
from hf_distill.data.corpora import load_corpora
from hf_distill.runtime.tags import UserError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a training and two development sentences, and answers."""
    monkeypatch.chdir(tmp_path)
    Path("train.tsv").write_text("p53-null\tS-GENE\nmice\tO\n\n")
    Path("val.tsv").write_text("the\tO\nZFP\tS-GENE\n\nof\tO\n\n")

    def load_with(*items, train: bool = True, **given):
        Path("answers.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        files = {"path_to_train": "train.tsv"} if train else {}
        args = DataArguments(path_to_val="val.tsv", path_to_annotations=["answers.jsonl"], **files, **given)
        return load_corpora(args, seed=0)

    return load_with


def mention(start: int, end: int, entity: str = "GENE", **fields) -> dict:
    return {"entity_group": entity, "start": start, "end": end, **fields}


def test_a_text_of_the_corpora_has_their_words_and_any_other_is_split(load):
    corpora = load(
        {"text": "p53-null  mice", "mentions": [mention(0, 8, score=0.8)]},
        {"text": "the ZFP", "mentions": []},
        {"text": "BRCA1-mutant cells.", "mentions": [mention(0, 12)]},
    )
    known, devel, other = corpora.annotations
    assert known["tokens"] == ["p53-null", "mice"] and known["tags"] == ["S-GENE", "O"]
    assert known["scores"][0] == pytest.approx(0.8) and math.isnan(known["scores"][1])
    assert devel["tokens"] == ["the", "ZFP"]
    assert other["tokens"] == ["BRCA1-mutant", "cells", "."] and other["tags"] == ["S-GENE", "O", "O"]
    assert corpora.unlabeled["tokens"][:] == [other["tokens"]], "what is labelled is not learnt from a second time"


def test_a_mention_inside_a_word(load):
    inside = {"text": "p53-null mice", "mentions": [mention(0, 3, score=0.8)]}
    with pytest.raises(UserError, match=r"1 mention\(s\) begin or end inside a word"):
        load(inside)
    assert load(inside, misaligned="drop").annotations[0]["tags"] == ["O", "O"]
    for way in ("widen", "split"):
        [row] = load(inside, misaligned=way).annotations
        assert row["tokens"] == ["p53-null", "mice"], "words of labelled sentences stay whole"
        assert row["tags"] == ["S-GENE", "O"] and row["scores"][0] == pytest.approx(0.8)


def test_scores_of_lists_of_words_and_the_names_of_labellers(load):
    corpora = load(
        {"tokens": ["BRCA1", "binds", "p53"], "mentions": [mention(12, 15, score=0.6)], "source": "openai:gpt"},
        {"tokens": ["BRCA1", "binds", "p53"], "mentions": []},
    )
    first, second = corpora.annotations
    assert first["scores"][2] == pytest.approx(0.6) and first["tags"] == ["O", "O", "S-GENE"]
    assert (first["source"], second["source"]) == ("openai:gpt", "answers.jsonl")
    assert corpora.unlabeled["tokens"][:] == [["BRCA1", "binds", "p53"]], "two answers are about one text"


def test_words_of_the_corpora_count_in_every_format(load):
    """Also where a file has words itself, or sentences: what is devel text must not be learnt from."""
    val = [["the", "ZFP"], ["of"]]
    tagged = {"tokens": ["the", "Z", "FP"], "ner_tags": ["O", "B-GENE", "I-GENE"]}
    corpora = load(tagged)
    assert corpora.annotations[0]["tokens"] == val[0] and corpora.annotations[0]["tags"] == ["O", "S-GENE"]
    assert corpora.unlabeled is None
    sents = [{"start": 0, "end": 3}, {"start": 4, "end": 7}]
    corpora = load({"text": "the ZFP", "mentions": [mention(4, 7)], "sents": sents})
    assert corpora.annotations["tokens"][:] == val[:1] and corpora.unlabeled is None
    with pytest.raises(UserError, match="nothing to learn from: all texts are devel or test data"):
        load({"text": "the ZFP", "mentions": [mention(4, 7)]}, train=False)


def test_a_corpus_with_words_of_blanks(load):
    Path("val.tsv").write_text("the\tO\nZFP\tS-GENE\n\xa0\tO\n\n", encoding="utf-8")
    assert load({"text": "the ZFP \xa0", "mentions": []}).annotations[0]["tokens"][:2] == ["the", "ZFP"]


def test_a_tagged_mention_inside_a_word_of_the_corpora(load):
    tagged = {"tokens": ["the", "Z", "FP"], "ner_tags": ["O", "O", "B-GENE"]}
    with pytest.raises(UserError, match=r"1 mention\(s\) begin or end inside a word"):
        load(tagged)
    assert load(tagged, misaligned="widen").annotations[0]["tags"] == ["O", "S-GENE"]


def test_answers_have_a_format_of_their_own(load):
    answers = {"text": "p53-null mice", "mentions": [mention(0, 8)]}
    corpora = load(answers, input_format="tsv", input_scheme="IOBES")
    assert corpora.annotations[0]["tags"] == ["S-GENE", "O"]


def test_a_source_is_whose_answer_it_is(load):
    answers = [
        {"text": f"BRCA {number}", "mentions": [mention(0, 4)], "source": f"PMID {number}"} for number in range(99)
    ]
    with pytest.raises(UserError, match="`source` names 99 labellers .PMID 0, PMID 1, PMID 2, ...."):
        load(*answers)


def test_of_overlapping_mentions_of_one_length_the_surer_stays(load):
    both = [mention(0, 8, "A", score=0.2), mention(0, 8, score=0.9)]
    assert load({"text": "p53-null mice", "mentions": both}, nested="longest").annotations[0]["tags"][0] == "S-GENE"


def test_texts_that_got_no_answer_are_counted(load, caplog):
    answered = {"text": "p53-null mice", "mentions": [mention(0, 8)]}
    corpora = load(answered, {"text": "BRCA1", "answer": "ignore", "error": "a refusal"})
    assert len(corpora.annotations) == 1 and "texts without an accepted annotation: 1" in caplog.text


def test_a_score_that_is_no_probability(load):
    with pytest.raises(UserError, match=r"answers.jsonl:1: the score of a mention is 7; .*from 0 to 1"):
        load({"text": "p53-null mice", "mentions": [mention(0, 8, score=7)]})
    with pytest.raises(UserError, match="the score of a mention is a number"):
        load({"text": "p53-null mice", "mentions": [mention(0, 8, score=10**400)]})
    [row] = load({"text": "p53-null mice", "mentions": [mention(0, 8, score=1.0000001)]}).annotations
    assert row["scores"][0] == 1


def test_answers_alone(load):
    corpora = load(
        {"text": "BRCA1 in mice", "mentions": [mention(0, 5), mention(9, 13, "SPECIES")]},
        {"text": "the ZFP", "mentions": [mention(4, 7)]},
        train=False,
    )
    assert len(corpora.train) == 0 and corpora.unlabeled["tokens"][:] == [["BRCA1", "in", "mice"]]
    assert corpora.tags == ["O", *(f"{prefix}-{name}" for name in ("GENE", "SPECIES") for prefix in "BIES")]
    with pytest.raises(UserError, match="--validation_fraction and --augmentation_rounds take labelled sentences"):
        load({"text": "a", "mentions": []}, train=False, augmentation_rounds=1)


def test_what_is_made_of_labelled_sentences_does_not_fill_up(load):
    corpora = load({"text": "BRCA1", "mentions": [mention(0, 5)]}, transfer_sentences=10)
    assert corpora.augmented is None and len(corpora.unlabeled) == 1


def test_types_that_nothing_teaches_are_refused(load):
    with pytest.raises(UserError, match="GENE stands in the development or test data, but not in answers.jsonl.*gene"):
        load({"text": "p53 binds MDM2 .", "mentions": [mention(0, 3, "gene")]}, train=False)
