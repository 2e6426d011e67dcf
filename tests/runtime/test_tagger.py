"""Mentions without PyTorch and transformers: the answers of the pipeline."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
from transformers import pipeline

from hf_distill import Tagger
from hf_distill.runtime.tags import UserError

TEXTS = [
    "p53 binds BRCA1-kinase (p53), in mice.",
    "",
    "  \n ",
    "Δp53 – the naïve 🧬 cells of p53\u0301x 癌 p53",
    "p53受容体はBRCA1に結合する。",
    "यह p53 रिसेप्टर है; โปรตีน p53 จับ BRCA1",
    "🇩🇪 p53 👩🏽‍🔬 O'Brien well-known 3,000 U.S.",
]


@pytest.fixture(scope="module", params=["characters", "apart", "within"])
def folder(request, tmp_path_factory):
    return tiny.save_student(tmp_path_factory.mktemp("student"), rule=request.param)


def texts():
    return [*TEXTS, *(" ".join(words) for words in tiny.sentences(50, seed=6))]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_answers_are_those_of_the_pipeline(folder, precision):
    find = Tagger.from_pretrained(folder, precision=precision)
    file = {"int8": "model_quantized.onnx", "fp32": "model.onnx"}[precision]
    other = pipeline("token-classification", model=str(folder), trust_remote_code=True, onnx=file, threads=1)
    assert [find(text) for text in texts()] == [other(text) for text in texts()]
    sentences = tiny.sentences(30, seed=5)
    assert find(sentences, is_split_into_words=True) == other(sentences, is_split_into_words=True, batch_size=30)
    assert find(sentences[0], is_split_into_words=True) == other(sentences[0], is_split_into_words=True)
    long = " ".join(word for sentence in tiny.sentences(3_000, seed=7) for word in sentence)
    assert find(long) == other(long) and len(find(long)) > 1000


@pytest.mark.parametrize("family", ["byte-level", "unigram"])
def test_tokenizers_of_other_families(tmp_path, family):
    from transformers import AutoTokenizer

    from hf_distill.publishing.onnx_export import write_onnx
    from hf_distill.students.build import label_config
    from hf_distill.students.save import save_model
    from hf_distill.teachers.loading import load_tokenizer

    {"byte-level": lambda: tiny.byte_level(False), "unigram": tiny.unigram}[family]().save_pretrained(tmp_path / "own")
    tokenizer = load_tokenizer(str(tmp_path / "own"))
    model = tiny.bert(tokenizer, seed=3)
    for name, value in label_config(tiny.TAGS).items():
        setattr(model.config, name, value)
    save_model(model, tokenizer, tmp_path / "student")
    write_onnx(model.eval(), tmp_path / "student" / "onnx")
    assert AutoTokenizer.from_pretrained(tmp_path / "student").is_fast
    find = Tagger.from_pretrained(tmp_path / "student", precision="fp32")
    other = pipeline("token-classification", model=str(tmp_path / "student"), trust_remote_code=True, onnx="model.onnx")
    assert [find(text) for text in texts()] == [other(text) for text in texts()]
    assert sum(len(find(text)) for text in texts()) > 20


def test_lists_streams_and_copies_give_the_same(folder):
    find = Tagger.from_pretrained(str(folder), precision="fp32")
    single = [find(text) for text in texts()]
    copy = pickle.loads(pickle.dumps(find))
    for found in (find(texts()), list(find.stream(iter(texts()))), copy(texts())):
        for one, other in zip(single, found, strict=True):
            assert [mention | {"score": pytest.approx(mention["score"], abs=1e-5)} for mention in one] == other
    assert find([]) == [] and find("") == [] and list(find.stream([])) == []
    words = [text.split() for text in texts()]
    assert list(find.stream(words)) == find(words, is_split_into_words=True)


def test_threads_share_a_tagger(folder):
    find = Tagger(folder)
    expected = [find(text) for text in texts()] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Tagger(folder), texts() * 4)) == expected


def damage(name, content):
    def change(folder):
        (folder / name).unlink() if content is None else (folder / name).write_text(content)

    return change


def drop_names(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["tags"]
    config["id2label"] = {index: f"LABEL_{index}" for index in range(5)}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("onnx/model_quantized.onnx", None), "has no onnx/model_quantized.onnx; distil with --export onnx"),
        (damage("config.json", None), "has no config.json"),
        (damage("config.json", "[]"), "config.json: expected an object"),
        (damage("config.json", "{"), "config.json: not valid JSON"),
        (damage("tokenizer.json", "{}"), "tokenizer.json: cannot be read"),
        (damage("tokenizer_config.json", "{}"), "names no pad_token of the vocabulary"),
        (drop_names, "the labels have no names"),
    ],
)
def test_faults_of_a_student(tmp_path, folder, change, message):
    shutil.copytree(folder, tmp_path / "copy")
    change(tmp_path / "copy")
    with pytest.raises(UserError, match=message):
        Tagger.from_pretrained(tmp_path / "copy")


def test_what_is_not_there(folder):
    with pytest.raises(UserError, match="found neither as a folder nor on the Hugging Face Hub"):
        Tagger.from_pretrained("no-one/nothing")
    with pytest.raises(UserError, match="found neither as a folder nor on the Hugging Face Hub"):
        Tagger.from_pretrained("no such//name")
    with pytest.raises(UserError, match="precision is one of int8, fp32, not 'fp16'"):
        Tagger.from_pretrained(folder, precision="fp16")
