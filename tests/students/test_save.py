import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from hf_distill import Tagger
from hf_distill.arguments import ModelArguments
from hf_distill.files import changed_files, record
from hf_distill.publishing.onnx_export import write_onnx
from hf_distill.students.build import build_student
from hf_distill.students.save import save_model
from hf_distill.students.student import Student

LOAD = """
import sys
sys.modules["hf_distill"] = None  # as if it were not installed
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer
for folder in sys.argv[1:]:
    remote = "bilstm" in folder
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=remote)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(["p53 kinase binds the receptor", "mice"], padding=True, return_tensors="pt")
    torch.save(model.eval()(**encoded).logits, folder + "/logits.pt")
"""


def test_saved_students_load_without_this_package(tmp_path, tokenizer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = {
        "bilstm": tiny.bilstm_arguments(),
        "bilstm-with-bert": tiny.bilstm_arguments(embedding_type="bert"),
        "tinybert": ModelArguments(model_name="tinybert", hidden_size=12),
    }
    students = {}
    for kind, args in kinds.items():
        students[kind] = build_student(args, tiny.TAGS, tokenizer, tiny.teacher(tokenizer)).eval()
        save_model(students[kind], tokenizer, kind)
    subprocess.run([sys.executable, "-c", LOAD, *kinds], check=True, capture_output=True)
    encoded = tokenizer(["p53 kinase binds the receptor", "mice"], padding=True, return_tensors="pt")
    for kind, student in students.items():
        logits = torch.load(Path(kind, "logits.pt"), weights_only=True)
        torch.testing.assert_close(logits, student(**encoded).logits)
        code = {path.name for path in Path(kind).glob("*_bilstm.py")}
        assert code == (set() if kind == "tinybert" else {"configuration_bilstm.py", "modeling_bilstm.py"})


def test_a_student_that_reads_features_brings_all_that_makes_them(tmp_path):
    student, texts = tiny.save_student(tmp_path / "student", "features"), [*map(" ".join, tiny.sentences(20, seed=6))]
    code = """
import json, sys
sys.modules["hf_distill"] = None
from transformers import pipeline
find = pipeline(model=sys.argv[1], trust_remote_code=True)
json.dump([[(each["start"], each["end"]) for each in find(text)] for text in sys.argv[2:]], sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code, student, *texts], check=True, capture_output=True, text=True)
    found = [
        [[each["start"], each["end"]] for each in mentions] for mentions in Tagger(student, precision="fp32")(texts)
    ]
    assert json.loads(done.stdout) == found and sum(map(len, found)) > 20


AGAIN = """
import sys
sys.modules["hf_distill"] = None
from transformers import AutoModelForTokenClassification, AutoTokenizer, Trainer, TrainingArguments, pipeline
kind, folder = sys.argv[1:]
pipeline(model=folder, trust_remote_code=True).save_pretrained("pipeline")
model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=kind == "bilstm")
trainer = Trainer(model, TrainingArguments("trainer"), processing_class=AutoTokenizer.from_pretrained(folder))
trainer.save_model()
"""


@pytest.mark.parametrize("kind", ["bilstm", "bert"])
def test_a_student_saved_again_by_others_loads(tmp_path, kind):
    folder, texts = tiny.save_student(tmp_path / "student", kind), [" ".join(words) for words in tiny.sentences(9, 6)]
    mentions = pipeline(model=str(folder), trust_remote_code=True)(texts)
    subprocess.run([sys.executable, "-c", AGAIN, kind, folder], check=True, capture_output=True, cwd=tmp_path)
    folder.rename(tmp_path / "gone")
    assert pipeline(model=str(tmp_path / "pipeline"), trust_remote_code=True)(texts) == mentions
    if kind == "bilstm":
        assert pipeline(model=str(tmp_path / "trainer"), trust_remote_code=True)(texts) == mentions
    else:  # transformers' own class saves nobody's code, and its own pipeline needs none
        stock = pipeline("token-classification", str(tmp_path / "trainer"), aggregation_strategy="first")
        assert sum(map(len, stock(texts))) > 5


def test_the_stock_pipeline_finds_whole_iobes_mentions(tmp_path, tokenizer):
    """A mention of three words, one of a single word right behind it, and one whose first word has several subwords."""
    words = "the p53 alpha beta BRCA1 of kinase receptor mice".split()
    tags = "O B-GENE I-GENE E-GENE S-GENE O B-GENE E-GENE O".split()
    save_model(tiny.knowing_bert(tokenizer, words, tags), tokenizer, tmp_path)
    assert AutoModelForTokenClassification.from_pretrained(tmp_path).config.tags == tiny.TAGS
    # The task of the stock pipeline needs no code of the model's.
    for task, trust in (("ner", None), ("token-classification", None), (None, True)):
        find = pipeline(task, str(tmp_path), aggregation_strategy="first", trust_remote_code=trust)
        found = find(" ".join(words))
        mentions = [(mention["entity_group"], " ".join(words)[mention["start"] : mention["end"]]) for mention in found]
        assert mentions == [("GENE", "p53 alpha beta"), ("GENE", "BRCA1"), ("GENE", "kinase receptor")]


def test_the_length_of_windows_is_saved(tmp_path, tokenizer):
    model = build_student(tiny.bilstm_arguments(), tiny.TAGS, tokenizer)
    for length, saved in ((None, 64), (16, 16), (512, 16)):
        student = Student.with_limit(model, tokenizer, tiny.TAGS, length)
        save_model(model, student.tokenizer, tmp_path)
        assert student.max_length == AutoTokenizer.from_pretrained(tmp_path).model_max_length == saved


def test_onnx_files_of_other_weights_do_not_stay(tmp_path, tokenizer):
    model = tiny.bert(tokenizer)
    save_model(model, tokenizer, tmp_path)
    write_onnx(model, tmp_path / "onnx")
    record(tmp_path, ["onnx/model.onnx", "onnx/model_quantized.onnx"])
    save_model(model, tokenizer, tmp_path)
    assert len(list(tmp_path.rglob("*.onnx"))) == 2 and not changed_files(tmp_path), "those of the same weights do"
    save_model(tiny.bert(tokenizer, seed=1), tokenizer, tmp_path)
    assert not list(tmp_path.rglob("*.onnx")) and not changed_files(tmp_path)
