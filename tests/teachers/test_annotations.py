import numpy as np
import pytest
import tiny
from datasets import Dataset
from scipy.special import softmax
from test_signals import MANY, unpack

from hf_distill.data.encoding import encode_dataset
from hf_distill.data.readers.common import ANSWERS
from hf_distill.runtime.tags import UserError
from hf_distill.teachers.annotations import stored_answers
from hf_distill.teachers.labels import LEAST
from hf_distill.teachers.signals import SignalStore, attach_signals, read_signals

TAGS = ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]
NONE = float("nan")


def answers(*rows: tuple[str, str, list[float], str]) -> Dataset:
    return Dataset.from_list(
        [
            {"tokens": words.split(), "tags": tags.split(), "scores": scores, "source": source}
            for words, tags, scores, source in rows
        ],
        features=ANSWERS,
    )


def sentences(*rows: tuple[str, str]) -> Dataset:
    return Dataset.from_dict({"tokens": [row[0].split() for row in rows], "tags": [row[1].split() for row in rows]})


DEVEL = sentences(("no gene here", "O O O"))


def probabilities(labeller, sentence: str) -> np.ndarray:
    """What a labeller says, without the floor under all probabilities."""
    [logits] = labeller.predict([sentence.split()])
    assert logits.dtype == np.float32
    return (softmax(logits, -1) - LEAST / len(TAGS)) / (1 - LEAST)


def test_the_words_of_a_mention_have_its_tag_with_the_probability_of_its_score():
    rows = answers(("the p53 gene and ZFP", "O B-GENE E-GENE O S-GENE", [NONE, 0.8, 0.8, NONE, 0.3], "a"))
    [labeller] = stored_answers(rows, TAGS, DEVEL)
    expected = [[1, 0, 0, 0, 0], [0.2, 0.8, 0, 0, 0], [0.2, 0, 0, 0.8, 0], [1, 0, 0, 0, 0], [0.7, 0, 0, 0, 0.3]]
    np.testing.assert_allclose(probabilities(labeller, "the p53 gene and ZFP"), expected, atol=1e-5)
    [certain] = stored_answers(rows, TAGS, DEVEL, confidence=1.0)
    assert probabilities(certain, "the p53 gene and ZFP").round(3).tolist() == np.eye(5)[[0, 1, 3, 0, 4]].tolist()
    assert certain.fingerprint() != labeller.fingerprint()


def test_improbable_mentions_are_told(caplog):
    rows = answers(("ZFP in p53", "S-GENE O S-GENE", [0.49, NONE, 0.51], "a"))
    stored_answers(rows, TAGS, DEVEL, confidence=0.8)
    assert not caplog.text
    stored_answers(rows, TAGS, DEVEL)
    assert "1 of 2 mentions have a score below 0.5" in caplog.text


def test_several_answers_of_a_labeller_are_averaged_and_labellers_are_kept_apart():
    rows = answers(
        ("ZFP", "S-GENE", [0.9], "a"),
        ("ZFP", "O", [NONE], "a"),
        ("ZFP", "S-GENE", [0.5], "b"),
        ("p53", "O", [NONE], "b"),
    )
    one, other = stored_answers(rows, TAGS, DEVEL)
    assert (one.name, other.name) == ("a", "b")
    np.testing.assert_allclose(probabilities(one, "ZFP"), [[0.55, 0, 0, 0, 0.45]], atol=1e-5)
    np.testing.assert_allclose(probabilities(other, "ZFP"), [[0.5, 0, 0, 0, 0.5]], atol=1e-5)
    assert np.isnan(one.predict([["p53"]])[0]).all(), "no answer"


def test_without_scores_the_development_data_say_how_sure_answers_are(caplog):
    words = " ".join(f"w{number}" for number in range(40))
    devel = sentences((words, " ".join(["S-GENE"] * 30 + ["O"] * 10)))
    rows = answers((words, " ".join(["S-GENE"] * 40), [NONE] * 40, "a"), ("ZFP", "S-GENE", [NONE], "a"))
    [labeller] = stored_answers(rows, TAGS, devel)
    np.testing.assert_allclose(probabilities(labeller, "ZFP"), [[0.25, 0, 0, 0, 0.75]], atol=1e-5)
    assert "75.0% of their words have the right tag in the development data" in caplog.text
    [uncovered] = stored_answers(rows.select([1]), TAGS, devel)
    np.testing.assert_allclose(probabilities(uncovered, "ZFP"), [[0.1, 0, 0, 0, 0.9]], atol=1e-5)
    assert "too few development sentences" in caplog.text


def test_answers_about_other_entity_types(caplog):
    rows = answers(("ZFP in mice", "S-Gene O S-SPECIES", [0.9, NONE, 0.8], "a"))
    with pytest.raises(UserError, match=r"no mention of GENE, but of Gene, SPECIES.*--rename_types Gene=GENE"):
        stored_answers(rows, TAGS, DEVEL)
    rows = answers(("ZFP in mice", "S-GENE O S-SPECIES", [0.9, NONE, 0.8], "a"))
    [labeller] = stored_answers(rows, TAGS, DEVEL)
    assert "mentions of SPECIES, which the student's labels lack, count as O" in caplog.text
    np.testing.assert_allclose(probabilities(labeller, "ZFP in mice")[2], [1, 0, 0, 0, 0], atol=1e-5)


def test_answers_are_averaged_with_a_teacher_where_there_are_any(tmp_path, tokenizer):
    text = tiny.corpus(8, seed=1)
    teacher = tiny.teacher(tokenizer)
    rows = answers(*((" ".join(row["tokens"]), " ".join(row["tags"]), [0.7] * len(row["tags"]), "a") for row in text))
    [labeller] = stored_answers(rows.select(range(4)), list(teacher.tags), DEVEL)
    both = read_signals([SignalStore(each, text, tmp_path) for each in (teacher, labeller)])
    alone, told = teacher.predict(text["tokens"]), labeller.predict(text["tokens"])
    for row in range(4):
        mean = (softmax(alone[row], -1) + softmax(told[row], -1)) / 2
        np.testing.assert_allclose(np.exp(both[row]), mean, atol=1e-5)
    for row in range(4, 8):
        np.testing.assert_allclose(np.exp(both[row]), softmax(alone[row], -1), atol=1e-5)


@pytest.mark.parametrize("tags", [TAGS, MANY], ids=["few labels", "many labels"])
def test_a_labelled_sentence_without_an_answer_is_learnt_from_its_labels(tmp_path, tokenizer, tags):
    entity = tags[1][2:]
    text = sentences(("ZFP binds", f"S-{entity} O"), ("of p53", f"O S-{entity}"))
    [labeller] = stored_answers(answers(("ZFP binds", f"S-{entity} O", [0.6, NONE], "a")), tags, DEVEL)
    rows = attach_signals([SignalStore(labeller, text, tmp_path)], encode_dataset(text, tokenizer, 64, tags))
    own = tags.index(f"S-{entity}")
    found = [softmax(unpack(row, len(tags)), -1)[:, [0, own]] for row in rows]
    np.testing.assert_allclose(found, [[[0.4, 0.6], [1, 0]], [[1, 0], [0, 1]]], atol=2e-3)
