import json
import subprocess
import sys
from pathlib import Path

import tiny
import torch
from transformers import AutoModelForTokenClassification, BertConfig, BertForTokenClassification, pipeline

from hf_distill import Tagger
from hf_distill.arguments import ModelArguments
from hf_distill.students.build import build_student, label_config
from hf_distill.students.save import save_model

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
find = pipeline("token-classification", model=sys.argv[1], trust_remote_code=True)
json.dump([[(each["start"], each["end"]) for each in find(text)] for text in sys.argv[2:]], sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code, student, *texts], check=True, capture_output=True, text=True)
    found = [
        [[each["start"], each["end"]] for each in mentions] for mentions in Tagger(student, precision="fp32")(texts)
    ]
    assert json.loads(done.stdout) == found and sum(map(len, found)) > 20


def test_the_stock_pipeline_finds_whole_iobes_mentions(tmp_path, tokenizer):
    """A mention of three words, one of a single word right behind it, and one whose first word has several subwords."""
    student = BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=len(tokenizer),
            num_hidden_layers=0,
            num_attention_heads=1,
            intermediate_size=4,
            **label_config(tiny.TAGS),
        )  # fmt: skip
    )
    words = "the p53 alpha beta BRCA1 of kinase receptor mice".split()
    tags = "O B-GENE I-GENE E-GENE S-GENE O B-GENE E-GENE O".split()
    embeddings = student.bert.embeddings
    with torch.no_grad():
        # One-hot embeddings; layer normalisation keeps the order, so a word's first subword picks its row of the head.
        embeddings.word_embeddings.weight.copy_(torch.eye(len(tokenizer)))
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        student.classifier.weight.zero_()
        student.classifier.bias.zero_()
        for word, tag in zip(words, tags, strict=True):
            first = tokenizer(word, add_special_tokens=False)["input_ids"][0]
            student.classifier.weight[tiny.TAGS.index(tag), first] = 1.0
    save_model(student, tokenizer, tmp_path)
    assert AutoModelForTokenClassification.from_pretrained(tmp_path).config.tags == tiny.TAGS
    # "ner" is the stock pipeline, which needs no code of the model's; "token-classification" is the model's own.
    for task, trust in (("ner", None), ("token-classification", True)):
        find = pipeline(task, str(tmp_path), aggregation_strategy="first", trust_remote_code=trust)
        found = find(" ".join(words))
        mentions = [(mention["entity_group"], " ".join(words)[mention["start"] : mention["end"]]) for mention in found]
        assert mentions == [("GENE", "p53 alpha beta"), ("GENE", "BRCA1"), ("GENE", "kinase receptor")]
