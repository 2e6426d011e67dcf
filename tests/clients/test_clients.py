"""The Python of docs/clients.md, as it stands there."""

import json

import numpy as np
import pages
import pytest
import tiny
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from hf_distill import Tagger

PAGE = pages.ROOT / "docs" / "clients.md"
TEXTS = [" ".join(words) for words in tiny.sentences(30, seed=6)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that they speak of."""
    tiny.save_student(tmp_path / "student", trained=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(client: str) -> dict:
    """Run the Python of a section."""
    heading = PAGE.read_text(encoding="utf-8").split("\n").index(f"## {client}")
    block = next(block for block in pages.blocks(PAGE) if block.line > heading and block.language == "python")
    names: dict = {"__name__": client}
    pages.run_python(PAGE, block, names)
    return names


def alike(found: list[dict], expected: list[dict]) -> bool:
    return found == [each | {"score": pytest.approx(each["score"], abs=1e-5)} for each in expected]


def test_spacy(here):
    pytest.importorskip("spacy")
    doc = run("spaCy")["nlp"]("the p53 binds BRCA1")
    assert [(each.text, each.label_) for each in doc.ents] == [("p53", "GENE"), ("BRCA1", "GENE")]


def test_presidio(here):
    pytest.importorskip("presidio_analyzer")
    found = run("Presidio")["analyzer"].analyze("the p53 binds BRCA1", language="en")
    assert {(each.entity_type, each.start, each.end) for each in found} == {("GENE", 4, 7), ("GENE", 14, 19)}


def test_fastapi(here):
    client = pytest.importorskip("fastapi.testclient").TestClient(run("FastAPI")["app"])
    answer = client.post("/mentions", json=TEXTS)
    assert answer.status_code == 200 and all(map(alike, answer.json(), Tagger("student")(TEXTS)))
    refused = client.post("/mentions", content=b'["\\ud800"]', headers={"Content-Type": "application/json"})
    assert refused.status_code == 422 and "Text 1: half of a character" in refused.json()["detail"]


def test_datasets(here):
    (here / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    run("datasets")
    rows = [json.loads(line) for line in (here / "mentions.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert all(map(alike, [row["mentions"] for row in rows], Tagger("student")(TEXTS)))


def test_onnx_runtime(tmp_path, monkeypatch):
    """As BERT's clients call it, with token_type_ids, and without."""
    tiny.save_student(tmp_path / "student", "bert")
    monkeypatch.chdir(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained("student")
    model = AutoModelForTokenClassification.from_pretrained("student").eval()
    names = run("ONNX Runtime")
    assert names["logits"].shape[-1] == len(tiny.TAGS)
    ort = names["onnxruntime"]
    session = ort.InferenceSession("student/onnx/model.onnx")
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="np", return_token_type_ids=False))
    real = inputs["attention_mask"] == 1
    [without] = session.run(None, inputs)
    for kind in (0, 1):
        given = inputs | {"token_type_ids": np.full_like(inputs["input_ids"], kind)}
        [logits] = session.run(None, given)
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(values) for name, values in given.items()}).logits.numpy()
        np.testing.assert_allclose(logits[real], expected[real], atol=1e-4)
        assert (logits[real] == without[real]).all() == (kind == 0)
