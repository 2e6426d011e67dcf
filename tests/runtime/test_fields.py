"""Whoever reads a strange configuration says which field is wrong, and stops."""

import json
import math
import shutil

import pytest
import tiny
from transformers import logging, pipeline

from hf_distill import Tagger
from hf_distill.arguments import ModelArguments, PredictionArguments
from hf_distill.prediction.predict import choose_runtime
from hf_distill.runtime.pipeline import MentionPipeline
from hf_distill.runtime.tags import UserError
from hf_distill.students.build import build_student
from hf_distill.teachers.teacher import load_teacher

STRANGE = {
    "tags": ["O", {"a": 1}, [], 5, [1], ["O", "O"], ["O", "B-GENE", "x"], ["O", None], ["B-GENE"]],
    "word_rule": [7, "x", []],
    "word_rule_finds": ["x", [], -3, math.nan, True],
    "score_calibration": [[], {}, 5, {"temperature": "1"}],
    "thresholds": [5, [], {"0.9": 5}, {"0.9": {"GENE": "x"}}, {"0.9": {"GENE": 2}}],
    "word_feature_rows": [-1, "5", 1e9],
    "max_position_embeddings": ["512", 1.5, [], True],
    "bert_config": [5, [], {"max_position_embeddings": "5"}, {"max_position_embeddings": -1}],
    "id2label": [[], 5, "O", {"x": "O"}, {"0": 5}],
    "label2id": [[], 5],
    "num_labels": [-1, "5", 0],
    "vocab_size": ["9", -1, [], 1e9],
    "hidden_size": ["8", 0, []],
    "num_hidden_layers": [-1, "2", []],
    "custom_pipelines": [5, [], {"token-classification": 5}],
    "model_type": [5, []],
    "return_dict": [False, 1],
}
OF_BILSTM = {
    "embedding_size": ["8", -1],
    "classifier_size": ["8", -1],
    "num_hidden_layers": [0],
    "num_stacks": [0, "2", None],
    "dropout": ["x", 7],
    "embedding_dropout": [-1, []],
    "embedding_type": [5, "x", []],
}


@pytest.fixture(scope="module", params=["bilstm", "bert"])
def student(request, tmp_path_factory):
    logging.set_verbosity_error()
    return tiny.save_student(tmp_path_factory.mktemp("student") / request.param, request.param)


def find_with_tagger(folder):
    return Tagger(folder)


def predict(folder, runtime="pytorch"):
    return choose_runtime(PredictionArguments(str(folder), ["a.txt"], "a.jsonl", runtime=runtime), "cpu")


def predict_with_onnx(folder):
    return predict(folder, "int8")


def teach(folder):
    return load_teacher(str(folder), tiny.TAGS)


def start_from(folder):
    arguments = ModelArguments(student_model_name_or_path=str(folder), model_name="auto")
    return build_student(arguments, tiny.TAGS, tiny.wordpiece())


@pytest.mark.parametrize("read", [find_with_tagger, predict, predict_with_onnx, teach, start_from])
def test_a_field_of_a_wrong_type_is_refused_by_name(student, tmp_path, read):
    copy = shutil.copytree(student, tmp_path / "copy")
    fields = json.loads((copy / "config.json").read_text())
    read(copy)
    for name, values in (STRANGE | (OF_BILSTM if student.name == "bilstm" else {})).items():
        for value in values:
            (copy / "config.json").write_text(json.dumps(fields | {name: value}))
            with pytest.raises(UserError) as refusal:
                read(copy)
            message = str(refusal.value)
            assert str(copy) in message and name in message and len(message) < 500, message
            assert repr(value)[:40] in message or name == "tags" and "names no tags" in message, message


def test_the_pipeline_refuses_them_too(student, tmp_path):
    copy = shutil.copytree(student, tmp_path / "copy")
    fields = json.loads((copy / "config.json").read_text())
    own = ("tags", "word_rule", "word_rule_finds", "score_calibration", "thresholds", "word_feature_rows")
    # Other fields transformers itself refuses before it asks this package, unless the configuration is a BiLSTM's.
    names = own if student.name == "bert" else (*own, "id2label", "hidden_size", "max_position_embeddings")
    for name in names:
        for value in STRANGE[name]:
            (copy / "config.json").write_text(json.dumps(fields | {name: value}))
            with pytest.raises(UserError, match=rf"config\.json: .*{name}"):
                pipeline(model=str(copy), tokenizer=str(copy), pipeline_class=MentionPipeline)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_act": "nope"}, "cannot be loaded: KeyError: 'nope'"),
        ({"auto_map": 5}, "cannot be loaded: TypeError"),
        ({"pad_token_id": 10**6}, "cannot be loaded: AssertionError: Padding_idx"),
        ({"tags": ["O", "B-GENE", "I-GENE"]}, "names 3 tags, but 5 labels"),
        ({"tags": None, "id2label": {"1": "O", "2": "B-GENE"}}, "names no labels from 0 to 1"),
    ],
)
def test_what_transformers_trips_over_is_no_traceback(tmp_path, fields, message):
    folder = tiny.save_student(tmp_path / "student", "bert")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | fields))
    with pytest.raises(UserError, match=message):
        load_teacher(str(folder), tiny.TAGS)
