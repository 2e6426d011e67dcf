"""What a user of transformers sees of a saved student: running text in, mentions out."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset
from transformers.pipelines.token_classification import AggregationStrategy

from hf_distill.runtime.pipeline import predict_words
from hf_distill.runtime.tags import find_invalid
from hf_distill.runtime.windows import make_windows

TEXTS = ["p53 binds BRCA1-kinase (p53), in mice.", "", "  \n ", "Δp53 – the naïve 🧬 cells of p53\u0301x 癌 p53"]


@pytest.fixture(scope="module", params=["bilstm", "bert"])
def folder(request, tmp_path_factory):
    return tiny.save_student(tmp_path_factory.mktemp("student"), request.param)


@pytest.fixture
def find(folder):
    return pipeline(model=str(folder), trust_remote_code=True)


def test_raw_and_split_text_give_the_same_mentions(find):
    sentences = tiny.sentences(30, seed=5)
    raw = find([" ".join(words) for words in sentences])
    assert raw == find(sentences, is_split_into_words=True)
    assert sum(map(len, raw)) > 20
    assert find(sentences[0], is_split_into_words=True) == raw[0], "a single sentence, too"
    # Blanks are not needed where the training data has none.
    [[*glued], [*spaced]] = find(["(p53)-kinase", "( p53 ) - kinase"])
    assert [mention["score"] for mention in glued] == [mention["score"] for mention in spaced]


def test_offsets_are_characters_of_the_text(find):
    for text, mentions in zip(TEXTS, find(TEXTS), strict=True):
        assert all(text[mention["start"] : mention["end"]] == mention["word"] for mention in mentions)
        assert all(0 < mention["score"] <= 1 and mention["entity_group"] == "GENE" for mention in mentions)
        ends = [0] + [mention["end"] for mention in mentions]
        assert all(mention["start"] >= end for mention, end in zip(mentions, ends, strict=False))
    assert find("") == [] and find([]) == [] and find(" \n") == []


def test_batches_and_generators_change_nothing(find):
    texts = [*TEXTS, *(" ".join(words) for words in tiny.sentences(20, seed=6))]
    single = [find(text) for text in texts]
    for found in (find(texts, batch_size=4), list(find((text for text in texts), batch_size=3))):
        for one, other in zip(single, found, strict=True):
            assert [mention | {"score": pytest.approx(mention["score"], abs=1e-5)} for mention in one] == other


def test_all_that_holds_texts_gives_the_same(find):
    texts = [" ".join(words) for words in tiny.sentences(9, seed=6)]
    mentions, dataset = find(texts), Dataset.from_dict({"text": texts})
    for many in (tuple(texts), np.array(texts), pd.Series(texts), dataset["text"], dict.fromkeys(texts).keys()):
        assert find(many) == mentions, type(many)
    for stream in (iter(texts), map(str, texts), (text for text in texts), KeyDataset(dataset, "text")):
        found = find(stream, num_workers=1 if isinstance(stream, KeyDataset) else 0)
        assert list(found) == mentions, type(stream)
    frame = pd.DataFrame({"text": texts})
    for wrong in (None, 7, dataset, frame, {"p53"}, {"text": "p53"}, [{"text": "p53"}], [None], [["p53", None]]):
        with pytest.raises(ValueError, match="expected a string or a list of words, not .* give a column of texts"):
            find(wrong)
    with pytest.raises(ValueError, match="half of a character"):
        find("p53 \ud800")


def test_arguments_of_the_stock_pipeline(folder, find):
    """What has a meaning here is done; what has none, since windows and words are the model's own, changes nothing."""
    words = tiny.sentences(3, seed=6)
    text = " ".join(words[0])
    mentions = find(text)
    assert mentions
    for strategy in ("simple", "first", "AVERAGE", AggregationStrategy.MAX):
        assert find(text, aggregation_strategy=strategy, stride=8, ignore_labels=["O"], batch_size=2) == mentions
    with pytest.raises(ValueError, match="middle is not a valid AggregationStrategy"):
        find(text, aggregation_strategy="middle")
    assert find(text, ignore_labels=["GENE"]) == []
    made = pipeline(model=str(folder), trust_remote_code=True, ignore_labels=["GENE"], stride=4, device="cpu")
    assert made(text) == [] and made(text, ignore_labels=["O"]) == mentions
    glued = find(words, is_split_into_words=True, delimiter="")
    for sentence, found, spaced in zip(words, glued, find(words, is_split_into_words=True), strict=True):
        assert [each["word"] for each in found] == [each["word"].replace(" ", "") for each in spaced]
        assert all("".join(sentence)[each["start"] : each["end"]] == each["word"] for each in found)
    half = pipeline(model=str(folder), trust_remote_code=True, dtype="bfloat16")
    assert half.model.dtype == torch.bfloat16 and sum(map(len, half([" ".join(each) for each in words]))) > 0


def test_a_text_of_many_pages(find):
    text = " ".join(word for sentence in tiny.sentences(5_000, seed=7) for word in sentence)
    assert len(text) > 2**17
    mentions = find(text)
    assert all(text[each["start"] : each["end"]] == each["word"] for each in mentions)
    assert {each["start"] * 20 // len(text) for each in mentions} == set(range(20)), "from its beginning to its end"


def test_the_onnx_files_answer_alike(folder, find):
    exact = pipeline(model=str(folder), trust_remote_code=True, onnx="model.onnx", threads=1)
    texts = [" ".join(words) for words in tiny.sentences(20, seed=8)]
    for one, other in zip(find(texts), exact(texts, batch_size=5), strict=True):
        assert [mention | {"score": pytest.approx(mention["score"], abs=1e-4)} for mention in one] == other
    small = pipeline(model=str(folder), trust_remote_code=True, onnx="model_quantized.onnx", threads=1)
    assert sum(map(len, small(texts))) > 10


def test_only_valid_tag_sequences_are_read(folder, find):
    """By argmax the same words would give sequences that the scheme forbids."""
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    invalid = 0
    for words in tiny.sentences(30, seed=5):
        encoded = tokenizer([words], is_split_into_words=True, return_tensors="pt")
        best = model(**encoded).logits[0].argmax(-1)[1:-1]
        tags = [model.config.tags[label] for label in best]
        invalid += find_invalid(tags, "IOBES") is not None
    assert invalid > 0
    with pytest.raises(ValueError, match="whole mentions"):
        find("p53", aggregation_strategy="none")
    assert find("p53 binds", aggregation_strategy="first") == find("p53 binds")


def test_it_needs_transformers_alone(folder, tmp_path):
    """Without this package, and without what only this package needs."""
    script = f"""
import sys
for name in ("hf_distill", "datasets", "evaluate", "seqeval", "scipy", "sklearn", "pyarrow", "onnxruntime"):
    sys.modules[name] = None
from transformers import pipeline
find = pipeline(model={str(folder)!r}, trust_remote_code=True)
print(find("p53 binds BRCA1 kinase ( p53 )"))
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "'entity_group': 'GENE'" in process.stdout


def test_a_long_sentence_gets_a_prediction_for_each_word():
    tokenizer = tiny.wordpiece()
    model = tiny.bert(tokenizer).eval()
    sentences = [["kinase", "the"] * 1000, ["of"], ["p53", "\u200b"]]
    logits = predict_words(model, tokenizer, sentences, 64)
    assert [scores.shape for scores in logits] == [(2000, 5), (1, 5), (2, 5)]
    # A word in the middle of a window says what the model says when run on that window by hand.
    window = list(make_windows(tokenizer, sentences[:1], 64))[0][3]
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([window.input_ids])).logits[0, window.word_positions]
    last = window.first_word + len(window.word_positions)
    np.testing.assert_allclose(logits[0][window.first_word : last], alone, atol=1e-5)
