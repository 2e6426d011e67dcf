"""Publishing, with the real client and a Hub on this machine."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from hub_server import hub_fixture  # noqa: F401
from transformers import AutoModelForTokenClassification, AutoTokenizer

from hf_distill import (
    DistillationArguments,
    DistillationTrainer,
    ModelArguments,
    build_student,
    encode_dataset,
)
from hf_distill.cli import main
from hf_distill.data.job import MAY_CHANGE_ON_RESUME
from hf_distill.parsing import parse_arguments
from hf_distill.publishing.hub import write_run
from hf_distill.students.save import save_model

RUN = """--preset original --path_to_train data/train.tsv --path_to_val data/val.tsv --path_to_unlabeled data/text.txt
--embedding_size 8 --hidden_size 8 --embedding_type svd --vocabulary_size 120 --max_steps 4 --eval_steps 2
--save_steps 2 --use_cpu 1 --min_teacher_f1 0 --disable_tqdm 1 --license apache-2.0 --language en --comment secret
--output_dir out"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    tiny.write_tsv(tmp_path / "data" / "train.tsv", 60, seed=1)
    tiny.write_tsv(tmp_path / "data" / "val.tsv", 30, seed=2)
    text = "\n".join(" ".join(words) for words in tiny.sentences(50, seed=4))
    (tmp_path / "data" / "text.txt").write_text(text + "\n")
    save_model(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "models" / "teacher")
    monkeypatch.chdir(tmp_path)
    return [*RUN.split(), "--teacher_model_name_or_path", str(tmp_path / "models" / "teacher")]


def test_a_published_student_stands_alone(hub, command, tmp_path, capsys):
    command += ["--signals_dir", str(tmp_path / "signals"), "--export", "onnx", "--measure_time", "1"]
    command += "--push_to_hub 1 --hub_private_repo 1 --hub_revision v1 --hub_model_id student --hub_token".split()
    assert main([*command, hub.token]) == 0, capsys.readouterr().err
    printed = capsys.readouterr()
    assert f"{hub.url}/{hub.user}/student/commit/" in printed.out and hub.token not in printed.out + printed.err
    [(pinned, commit)] = re.findall(r'(pipeline\(model=.*revision="(\w{40})".*\))', printed.out)
    repository = hub.repos[f"{hub.user}/student"]
    assert repository.private
    files = repository.files("v1")
    expected = """README.md run.yaml all_results.json benchmark.json training_curve.png f1_against_latency.png
        config.json model.safetensors tokenizer.json tokenizer_config.json onnx/model.onnx onnx/model_quantized.onnx
        configuration_bilstm.py modeling_bilstm.py pipeline.py schemes.py tags.py windows.py words.py onnx_model.py
        decoding.py confidence.py fields.py mentions.py word_features.py"""
    assert set(expected.split()) == set(files) - {".gitattributes"}
    secrets = [hub.token, str(tmp_path), str(Path.home()), sys.prefix, "secret"]
    secrets += [name for name in [socket.gethostname()] if len(name) > 4]  # a shorter one is found anywhere
    for content in hub.pushed():
        assert [(secret, content[:60]) for secret in secrets if secret.encode() in content] == []
    # A process that has only transformers and the name.
    script = """
import sys
for name in ("hf_distill", "datasets", "evaluate", "seqeval", "scipy", "sklearn", "pyarrow"):
    sys.modules[name] = None
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
name, pinned, commit = sys.argv[1:]
options = {"revision": "v1", "trust_remote_code": True}
model = AutoModelForTokenClassification.from_pretrained(name, **options)
tokenizer = AutoTokenizer.from_pretrained(name, **options)
print(model(**tokenizer("p53 binds BRCA1", return_tensors="pt")).logits.tolist())
find = pipeline(model=name, onnx="model_quantized.onnx", **options)
assert isinstance(find("p53 binds BRCA1-kinase."), list) and find.network.session
find = eval(pinned)
assert all(commit in type(each).__module__ for each in (find, find.model, find.model.config))
"""
    (tmp_path / "elsewhere").mkdir()
    process = subprocess.run(
        [sys.executable, "-c", script, f"{hub.user}/student", pinned, commit],
        env=os.environ | hub.environment(tmp_path / "elsewhere"),
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    tokenizer = AutoTokenizer.from_pretrained("out")
    model = AutoModelForTokenClassification.from_pretrained("out", trust_remote_code=True)
    with torch.no_grad():
        logits = model(**tokenizer("p53 binds BRCA1", return_tensors="pt")).logits
    [answer] = [line for line in process.stdout.splitlines() if line.startswith("[[[")]  # transformers prints, too
    torch.testing.assert_close(torch.tensor(json.loads(answer)), logits)


@pytest.mark.parametrize(
    ("strategy", "folder"),
    [("end", None), ("every_save", None), ("checkpoint", "last-checkpoint"), ("all_checkpoints", "checkpoint-2")],
)
def test_what_is_pushed_on_the_way(hub, command, tmp_path, strategy, folder):
    command += ["--signals_dir", str(tmp_path / "signals"), "--output_dir", str(tmp_path / "out")]
    options = ["--push_to_hub", "1", "--hub_strategy", strategy, "--hub_always_push", "1"]
    assert main([*command, *options]) == 0
    repository = hub.repos[f"{hub.user}/out"]
    messages = [commit.message for commit in repository.commits]
    assert messages[-1] == "The student, its results and how it was made"
    assert ("Training in progress, step 2" in messages) == (strategy != "end")
    assert not any("training_args" in path or path.endswith(".tsv") for path in repository.files("main"))
    assert not any(str(tmp_path).encode() in content for content in hub.pushed())
    if folder:
        state = json.loads(repository.files("main")[f"{folder}/trainer_state.json"])
        assert "/" not in state["best_model_checkpoint"]
        assert {f"{folder}/{name}" for name in ("optimizer.pt", "scheduler.pt")} <= repository.files("main").keys()


def test_pushing_from_python_as_with_trainer(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher, rows = tiny.teacher(), encode_dataset(tiny.corpus(8), tiny.wordpiece(), 64, tiny.TAGS)
    trainer = DistillationTrainer(
        model=build_student(ModelArguments(hidden_size=8), tiny.TAGS, teacher.tokenizer),
        args=DistillationArguments("genes", max_steps=1, eval_strategy="no", bf16=False, use_cpu=True),
        teacher=teacher,
        processing_class=teacher.tokenizer,
        train_dataset=rows,
    )
    trainer.train()
    given = {"blocking": False, "token": hub.token, "revision": "v2", "private": True}
    trainer.push_to_hub("Mine", tags=["genes"], **given).result()
    repository = hub.repos[f"{hub.user}/genes"]
    assert repository.private and repository.commits[-1].message == "Mine"
    files = repository.files("v2")
    assert {"README.md", "model.safetensors", "pipeline.py"} <= files.keys() and "training_args.bin" not in files
    assert b"\n- genes\n" in files["README.md"]
    with pytest.raises(ValueError, match="README.md is there; write tags into it"):
        trainer.push_to_hub(tags=["proteins"])


def test_the_run_as_a_file(command, tmp_path):
    """What it says makes the same arguments again, where the files are at hand under their names."""
    assert main([*command, "--signals_dir", str(tmp_path / "signals"), "--alpha", "0.25"]) == 0
    written = yaml.safe_load(Path("out/run.yaml").read_text())
    assert written["teacher_model_name_or_path"] == ["teacher"] and written["path_to_unlabeled"] == ["text.txt"]
    assert written["preset"] == "original", "so that what is not written is what the run took"
    assert written["alpha"] == 0.25 and written["vocabulary_size"] == 120 and "output_dir" not in written
    assert not {"label_names", "greater_is_better", "activation_checkpointing"} & written.keys(), (
        "settled by Trainer anyway"
    )
    again = parse_arguments(["out/run.yaml", "--use_cpu", "1"])
    for one, other in zip(parse_arguments([*command, "--alpha", "0.25"]), again, strict=True):
        for name in written.keys() & vars(one).keys() - MAY_CHANGE_ON_RESUME:
            if getattr(one, name) is not None:  # what the run settles itself is written, too
                assert getattr(one, name) == getattr(other, name)


def test_dictionaries_in_the_run_as_a_file_keep_no_paths(command, tmp_path):
    inside = {"folder": str(tmp_path), "deep": [{"file": str(tmp_path / "data" / "val.tsv")}, 1], "name": "a-b"}
    flags = ["--gradient_checkpointing_kwargs", json.dumps(inside)]
    write_run(tmp_path / "run.yaml", parse_arguments([*command, *flags]))
    text = Path("run.yaml").read_text()
    expected = {"folder": tmp_path.name, "deep": [{"file": "val.tsv"}, 1], "name": "a-b"}
    assert yaml.safe_load(text)["gradient_checkpointing_kwargs"] == expected
    assert str(tmp_path.parent) not in text and parse_arguments(["run.yaml", "--use_cpu", "1"])


def test_a_repository_that_cannot_be_written_fails_before_anything_is_trained(hub, command, tmp_path, capsys):
    options = ["--push_to_hub", "1", "--hub_token", "hf_wrong", "--signals_dir", str(tmp_path / "signals")]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert "--push_to_hub: out cannot be written to" in error and "hf_wrong" not in error
    assert not Path("out").exists() and not Path("signals").exists()
