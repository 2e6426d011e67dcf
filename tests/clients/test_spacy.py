"""Students in spaCy: the mentions of `Tagger` as entities of documents."""

import pytest
import tiny

from hf_distill import Tagger
from hf_distill.runtime.tags import UserError

spacy = pytest.importorskip("spacy")

TEXTS = [" ".join(words) for words in tiny.sentences(60, seed=6)]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(tiny.save_student(tmp_path_factory.mktemp("student"), trained=True))


@pytest.fixture
def nlp(student):
    made = spacy.blank("en")
    made.add_pipe("hf_distill", config={"model": student, "precision": "fp32"})
    return made


@pytest.fixture(scope="module")
def find(student):
    return Tagger(student, "fp32")


def entities(doc):
    return [(each.start_char, each.end_char, each.label_, pytest.approx(each._.score, abs=1e-5)) for each in doc.ents]


def mentions(found):
    return [(each["start"], each["end"], each["entity_group"], each["score"]) for each in found]


def test_entities_are_the_mentions_of_the_tagger(nlp, find, tmp_path):
    expected = [mentions(found) for found in find(TEXTS)]
    assert sum(map(len, expected)) > 20
    nlp.to_disk(tmp_path)
    for each in (nlp, spacy.load(tmp_path)):
        assert [entities(each(text)) for text in TEXTS] == expected
        assert [entities(doc) for doc in each.pipe(TEXTS, batch_size=7)] == expected
    assert nlp.pipe_labels["hf_distill"] == ["GENE"] and nlp("").ents == ()


def test_spacy_scores_it(nlp):
    text = "the p53 binds BRCA1"
    examples = [
        spacy.training.Example.from_dict(nlp.make_doc(text), {"entities": [(4, 7, "GENE"), (0, 3, "GENE")]}),
    ]
    scores = nlp.evaluate(examples)
    assert (scores["ents_p"], scores["ents_r"]) == (0.5, 0.5)


def test_processes_share_the_work(nlp, find):
    docs = nlp.pipe(TEXTS, n_process=2, batch_size=10)
    assert [entities(doc) for doc in docs] == [mentions(found) for found in find(TEXTS)]


def test_a_mention_within_a_token_becomes_the_token(nlp, find):
    text = "the (p53 and kinase ,p53/BRCA1, p53"
    nlp.tokenizer = spacy.tokenizer.Tokenizer(nlp.vocab)  # by blanks alone
    with pytest.warns(UserWarning, match="1 mentions share a token with the one before: the "):
        doc = nlp(text)
    assert [entity.text for entity in doc.ents] == ["(p53", ",p53/BRCA1,", "p53"]
    scores = [found["score"] for found in find(text)]
    assert len(scores) == 4 and [entity._.score for entity in doc.ents] == pytest.approx(scores[:2] + scores[3:])


def test_other_entities_are_kept_where_they_do_not_overlap(nlp):
    ruler = nlp.add_pipe("entity_ruler", before="hf_distill")
    ruler.add_patterns([{"label": "OTHER", "pattern": pattern} for pattern in ("p53 binds", "the mice")])
    doc = nlp("the cells and p53 binds the mice")
    assert [(entity.text, entity.label_) for entity in doc.ents] == [("p53", "GENE"), ("the mice", "OTHER")]


def test_thresholds(nlp, student):
    text = "p53 binds BRCA1"
    assert len(nlp(text).ents) == 2
    for threshold, count in ((1.0, 0), ({"GENE": 0.0}, 2)):
        chosen = spacy.blank("en")
        chosen.add_pipe("hf_distill", config={"model": student, "threshold": threshold})
        assert len(chosen(text).ents) == count
    for wrong in (2, "0.95", {"CELL": 0.5}):
        with pytest.raises(UserError, match="threshold"):
            spacy.blank("en").add_pipe("hf_distill", config={"model": student, "threshold": wrong})


def test_errors(nlp, student, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"{tmp_path}: has no onnx/model_quantized.onnx"):
        nlp.add_pipe("hf_distill", "other", config={"model": str(tmp_path)})
    half = spacy.tokens.Doc(nlp.vocab, words=["p53"])
    monkeypatch.setattr(nlp.get_pipe("hf_distill"), "tagger", Refusing(student))
    handled = []
    nlp.set_error_handler(lambda name, component, docs, error: handled.append((name, len(docs), str(error))))
    assert list(nlp.pipe([half, "p53", "p53"], batch_size=2)) == []
    assert handled == [("hf_distill", 2, "refused"), ("hf_distill", 1, "refused")]


class Refusing(Tagger):
    def __call__(self, *args, **kwargs):
        raise UserError("refused")


def test_a_score_of_others_is_not_overwritten(student, monkeypatch):
    Span = spacy.tokens.Span
    existing = dict(spacy.tokens.underscore.Underscore.span_extensions)
    monkeypatch.setattr(spacy.tokens.underscore.Underscore, "span_extensions", existing)
    Span.set_extension("score", getter=len, force=True)
    with pytest.raises(UserError, match=r"span\._\.score is computed by an extension of others"):
        spacy.blank("en").add_pipe("hf_distill", config={"model": student})
