"""Mentions without PyTorch and transformers: the answers of the pipeline."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
import tiny
from transformers import pipeline

from hf_distill import Tagger
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.runtime.onnx_model import OnnxModel
from hf_distill.runtime.tagger import ONNX_FILES
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import label_config
from hf_distill.students.save import save_model
from hf_distill.teachers.loading import load_tokenizer
from hf_distill.teachers.teacher import load_teacher

TEXTS = [
    "p53 binds BRCA1-kinase (p53), in mice.",
    "",
    "  \n ",
    "Δp53 – the naïve 🧬 cells of p53\u0301x 癌 p53",
    "p53受容体はBRCA1に結合する。",
    "यह p53 रिसेप्टर है; โปรตีน p53 จับ BRCA1",
    "🇩🇪 p53 👩🏽‍🔬 O'Brien well-known 3,000 U.S.",
]


@pytest.fixture(scope="module", params=["characters", "apart", "within", "apart-features"])
def folder(request, tmp_path_factory):
    rule, _, kind = request.param.partition("-")
    return tiny.save_student(tmp_path_factory.mktemp("student"), kind or "bilstm", rule=rule)


def texts():
    return [*TEXTS, *(" ".join(words) for words in tiny.sentences(50, seed=6))]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_answers_are_those_of_the_pipeline(folder, precision):
    find = Tagger.from_pretrained(folder, precision=precision)
    file = {"int8": "model_quantized.onnx", "fp32": "model.onnx"}[precision]
    other = pipeline(model=str(folder), trust_remote_code=True, onnx=file, threads=1)
    assert [find(text) for text in texts()] == [other(text) for text in texts()]
    sentences = tiny.sentences(30, seed=5)
    assert find(sentences, is_split_into_words=True) == other(sentences, is_split_into_words=True, batch_size=30)
    assert find(sentences[0], is_split_into_words=True) == other(sentences[0], is_split_into_words=True)
    long = " ".join(word for sentence in tiny.sentences(3_000, seed=7) for word in sentence)
    assert find(long) == other(long) and len(find(long)) > 1000


@pytest.mark.parametrize("family", ["byte-level", "unigram"])
def test_tokenizers_of_other_families(tmp_path, family):
    from transformers import AutoTokenizer

    {"byte-level": lambda: tiny.byte_level(False), "unigram": tiny.unigram}[family]().save_pretrained(tmp_path / "own")
    tokenizer = load_tokenizer(str(tmp_path / "own"))
    model = tiny.bert(tokenizer, seed=3)
    for name, value in label_config(tiny.TAGS, model.config.model_type).items():
        setattr(model.config, name, value)
    save_model(model, tokenizer, tmp_path / "student")
    write_onnx(model.eval(), tmp_path / "student" / "onnx")
    assert AutoTokenizer.from_pretrained(tmp_path / "student").is_fast
    find = Tagger.from_pretrained(tmp_path / "student", precision="fp32")
    other = pipeline(model=str(tmp_path / "student"), trust_remote_code=True, onnx="model.onnx")
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


@pytest.mark.parametrize("slow", ["int8", "fp32"])
def test_auto_takes_the_quicker_file(folder, monkeypatch, slow):
    class Delayed(OnnxModel):
        def __init__(self, path, *args):
            super().__init__(path, *args)
            self.delay = 0.02 if path.name == ONNX_FILES[slow] else 0.0

        def __call__(self, **inputs):
            sleep(self.delay)
            return super().__call__(**inputs)

    monkeypatch.setattr("hf_distill.runtime.tagger.OnnxModel", Delayed)
    find = Tagger.from_pretrained(folder, precision="auto")
    other = Tagger(folder, precision=(set(ONNX_FILES) - {slow}).pop())
    assert find.precision == other.precision == pickle.loads(pickle.dumps(find)).precision
    assert [find(text) for text in texts()] == [other(text) for text in texts()]


def test_features_that_are_not_those_of_the_network_are_refused(tmp_path):
    student = tiny.save_student(tmp_path / "student", "features")
    Tagger(student)
    fields = json.loads((student / "config.json").read_text())
    for rows in (0, 19, 21, 10_000, True, "20", -1):
        (student / "config.json").write_text(json.dumps(fields | {"word_feature_rows": rows}))
        with pytest.raises(UserError, match=r"config\.json it should|word_feature_rows of a student"):
            Tagger(student)
        with pytest.raises(UserError, match=r"do not fit config\.json|cannot be loaded|word_feature_rows"):
            load_teacher(str(student), tiny.TAGS)


def test_threads_share_a_tagger(folder):
    find = Tagger(folder)
    expected = [find(text) for text in texts()] * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Tagger(folder), texts() * 4)) == expected


def damage(name, content):
    def change(folder):
        (folder / name).unlink() if content is None else (folder / name).write_text(content)

    return change


def change(name, **fields):
    def write(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({key: value for key, value in (content | fields).items() if value != ()}))

    return write


def cut(folder):
    path = folder / "onnx" / "model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:5000])


CONFIG, SETTINGS = "config.json", "tokenizer_config.json"


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (damage("onnx/model_quantized.onnx", None), "has no onnx/model_quantized.onnx; distil with --export onnx"),
        (cut, "model_quantized.onnx: cannot be loaded, it may be damaged"),
        (damage(CONFIG, None), "has no config.json"),
        (damage(CONFIG, "[]"), "config.json: expected an object"),
        (damage(CONFIG, "{"), "config.json: cannot be read as JSON"),
        (damage(CONFIG, "[" * 100_000), "config.json: cannot be read as JSON"),
        (damage(SETTINGS, '{"pad_token": "\\udcff"}'), "tokenizer_config.json: cannot be read as JSON"),
        (change(CONFIG, tags=()), "config.json: names no tags, so that this is no student of hf_distill"),
        (change(CONFIG, tags=5), "config.json: tags is a list of different tags"),
        (change(CONFIG, tags=[1, "O"]), "config.json: tags is a list of different tags"),
        (change(CONFIG, tags=["O", "B-G", "I-G"]), "has 5 outputs, but config.json 3 tags"),
        (
            change(CONFIG, max_position_embeddings="512"),
            "config.json: max_position_embeddings is a whole number, not '512'",
        ),
        (change(CONFIG, vocab_size=9), "its tokenizer has .* subwords, its network 9"),
        (damage("tokenizer.json", "{}"), "tokenizer.json: cannot be read"),
        (damage(SETTINGS, "{}"), "names no pad_token of the vocabulary"),
        (change(SETTINGS, pad_token=5), "names no pad_token of the vocabulary"),
        (change(SETTINGS, unk_token="[NOPE]"), "names no unk_token of the vocabulary"),
        (change(SETTINGS, model_max_length="512"), "model_max_length is '512', no whole number"),
        (change(SETTINGS, model_max_length=-1), "has no room beside 2 special tokens"),
        (change(SETTINGS, model_max_length=2), "has no room beside 2 special tokens"),
    ],
)
def test_faults_of_a_student(tmp_path, folder, damaged, message):
    shutil.copytree(folder, tmp_path / "copy")
    damaged(tmp_path / "copy")
    with pytest.raises(UserError, match=message):
        Tagger.from_pretrained(tmp_path / "copy")


@pytest.mark.parametrize(
    "text", [None, 3, b"p53", {"text": "p53"}, {"p53"}, [None], [3], [b"p53"], "p53 \ud800", [["p53"]]]
)
def test_what_is_no_text(folder, text):
    with pytest.raises(UserError, match="^Expected a text or a list|^Text 1: "):
        Tagger(folder)(text)


@pytest.mark.parametrize("words", ["p53", 3, [None], ["p53", 3], ["p53", "\ud800"], [["p53"], "BRCA1"], [["p53"], [3]]])
def test_what_are_no_words(folder, words):
    with pytest.raises(UserError, match="^Expected a text or a list|^Text [12]: "):
        Tagger(folder)(words, is_split_into_words=True)


def test_texts_and_words_of_any_kind(folder):
    find, words = Tagger(folder, "fp32"), tiny.sentences(3, seed=2)
    texts = [" ".join(sentence) for sentence in words]
    assert find(tuple(texts)) == find(text for text in texts) == find(np.array(texts)) == find(texts)
    expected = find(words, is_split_into_words=True)
    assert find(map(tuple, words), is_split_into_words=True) == expected
    assert find([np.array(sentence) for sentence in words], is_split_into_words=True) == expected
    assert find(np.array(words[0]), is_split_into_words=True) == find(words[0], is_split_into_words=True)
    with pytest.raises(UserError, match="Expected texts, not one"):
        list(find.stream(texts[0]))


def test_a_tokenizer_without_special_tokens(tmp_path):
    """A blank text has no subwords at all."""
    tokenizer = tiny.wordpiece()
    tokenizer.backend_tokenizer.post_processor = None
    model, _ = tiny.random_student("bilstm", tiny.TAGS)
    save_model(model, tokenizer, tmp_path)
    write_onnx(model.eval(), tmp_path / "onnx")
    find = Tagger(tmp_path, "fp32")
    assert find("") == find(" \n") == [] and find(["", " "]) == [[], []]
    assert find(["", TEXTS[0]]) == [[], find(TEXTS[0])] and find(TEXTS[0])


def test_what_is_not_there(folder):
    with pytest.raises(UserError, match="found neither as a folder nor on the Hugging Face Hub"):
        Tagger.from_pretrained("no-one/nothing")
    with pytest.raises(UserError, match="found neither as a folder nor on the Hugging Face Hub"):
        Tagger.from_pretrained("no such//name")
    with pytest.raises(UserError, match="found neither as a folder nor on the Hugging Face Hub"):
        Tagger.from_pretrained("x" * 300)
    with pytest.raises(UserError, match="no such folder"):
        Tagger(folder / "nothing")
    for name in (None, 3, ""):
        with pytest.raises(UserError, match="Expected a Hub id or a folder"):
            Tagger.from_pretrained(name)
    for threads in (-1, "2", 1.5, None):
        with pytest.raises(UserError, match="threads is a number, 0 for all cores"):
            Tagger(folder, threads=threads)
    with pytest.raises(UserError, match="precision is one of int8, fp32 and auto, not 'fp16'"):
        Tagger.from_pretrained(folder, precision="fp16")
