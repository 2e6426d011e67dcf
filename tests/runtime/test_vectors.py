"""What docs/runtime.md says, in examples: what has to come out, in any language."""

import importlib.util
import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from hf_distill import Tagger
from hf_distill.runtime.mentions import locate_words, word_places
from hf_distill.runtime.windows import make_windows
from hf_distill.runtime.words import RULES

FOLDER = Path(__file__).parent / "vectors"
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_vectors.py"


def read(rule):
    return json.loads((FOLDER / rule / "texts.json").read_text(encoding="utf-8"))


def network(vector, labels):
    """A network that gives the vector's logits where they are asked for."""

    def forward(input_ids, attention_mask, word_features=None):
        assert input_ids.dtype == attention_mask.dtype == np.int64
        values = np.full((*input_ids.shape, labels), np.nan, dtype=np.float32)
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            for window in vector["windows"]:
                if window["input_ids"] == ids[: mask.sum()].tolist():
                    first, positions = window["first_word"], window["word_positions"]
                    if "word_features" in window:
                        assert word_features[row, : mask.sum()].tolist() == window["word_features"]
                    values[row, positions] = vector["logits"][first : first + len(positions)]
        return values

    return forward


class OnnxModel:
    """In place of an ONNX file."""

    def __init__(self, path, config, threads):
        self.num_labels = len(config.tags)


@pytest.fixture(params=RULES)
def find(request, tmp_path, monkeypatch):
    """The tagger of the student in a folder of vectors, and the vectors."""
    shutil.copytree(FOLDER / request.param, tmp_path / "student")
    (tmp_path / "student" / "onnx").mkdir()
    (tmp_path / "student" / "onnx" / "model.onnx").touch()
    monkeypatch.setattr("hf_distill.runtime.tagger.OnnxModel", OnnxModel)
    return Tagger(tmp_path / "student", precision="fp32"), read(request.param)


def test_the_tagger_gives_the_vectors(find):
    tagger, vectors = find
    for vector in vectors:
        text = vector["text"]
        placed = locate_words(text, tagger.rule)
        assert [list(place) for place in word_places(placed)] == vector["words"], text
        [windows] = make_windows(tagger.tokenizer, [placed["words"]], tagger.max_length, tagger.feature_rows)
        for window, expected in zip((each for each in windows if each.word_positions), vector["windows"], strict=True):
            features = window.word_features if window.word_features is None else window.word_features.tolist()
            assert vars(window) | {"word_features": features} == {"word_features": None} | expected, text
        tagger.network = network(vector, len(tagger.tags))
        [(_, labels, mentions)] = tagger.tag([text])
        assert [tagger.tags[label] for label in labels] == vector["tags"], text
        expected = [mention | {"score": pytest.approx(mention["score"], abs=1e-5)} for mention in vector["mentions"]]
        assert mentions == expected, text


def test_the_vectors_are_those_of_the_script(tmp_path):
    """(Scores may differ in the last digit: processors compute them in ways of their own.)"""
    spec = importlib.util.spec_from_file_location("make_vectors", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    for rule in RULES:
        for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
            made, kept = ((folder / rule / name).read_text(encoding="utf-8") for folder in (tmp_path, FOLDER))
            assert json.loads(made) == json.loads(kept), f"{rule}/{name}"
        made = json.loads((tmp_path / rule / "texts.json").read_text(encoding="utf-8"))
        for one, other in zip(made, read(rule), strict=True):
            for mention in (*one["mentions"], *other["mentions"]):
                mention["score"] = pytest.approx(mention["score"], abs=1e-5)
            assert one == other


def test_the_vectors_cover_what_is_hard():
    vectors = {rule: read(rule) for rule in RULES}
    assert sum(map(len, vectors.values())) >= 200
    names = " ".join(unicodedata.name(letter, "") for each in vectors["apart"] for letter in each["text"])
    for script in "LATIN GREEK CYRILLIC ARABIC HEBREW DEVANAGARI THAI CJK HIRAGANA KATAKANA HANGUL".split():
        assert f"{script} " in names
    for sign in ("COMBINING", "ZERO WIDTH JOINER", "EMOJI MODIFIER", "REGIONAL INDICATOR", "TAG "):
        assert sign in names
    for rule, each in vectors.items():
        assert any(not vector["words"] for vector in each)
        assert any(len(vector["windows"]) > 2 for vector in each)
        empty = {"apart": 1, "within": 1, "characters": 2}[rule]  # what a word without subwords becomes
        assert any(empty in window["input_ids"] for vector in each for window in vector["windows"])
    places = [{tuple(place) for place in vector["words"]} for vector in vectors["apart"]]
    for rule in ("within", "characters"):
        others = [{tuple(place) for place in vector["words"]} for vector in vectors[rule]]
        assert sum(one != other for one, other in zip(places, others, strict=True)) >= 5
