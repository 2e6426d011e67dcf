"""The log of a run, as a process of its own whose output goes to a file."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from hf_distill.parsing import parse_prediction
from hf_distill.students.save import save_model

SCRIPT = Path(__file__).parents[2] / "run_distill.py"
FLAGS = """--preset original --do_train_teacher 1 --teacher_model_name_or_path encoder --teacher_num_train_epochs 2
--do_train_baseline 1 --num_train_epochs 2 --embedding_size 8 --hidden_size 8 --export onnx --min_teacher_f1 0
--path_to_unlabeled text.txt --logging_steps 1 --use_cpu 1 --signals_dir signals --output_dir""".split()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The folder in which a student was distilled, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("progress")
    tiny.write_tsv(folder / "train.tsv", 200, seed=1)
    tiny.write_tsv(folder / "val.tsv", 40, seed=2)
    (folder / "text.txt").write_text("\n".join(" ".join(words) for words in tiny.sentences(200, seed=3)))
    save_model(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), folder / "encoder")
    with open(folder / "log", "wb") as file:
        command = [sys.executable, str(SCRIPT), *tiny.DATA, *FLAGS, "a student"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=os.environ)
    text = (folder / "log").read_text()
    assert done.returncode == 0, text
    return folder, text


def test_a_log_fits_on_two_screens(log):
    folder, text = log
    # transformers 5.0 draws its bar of loading anew for each weight, whatever tqdm is told.
    lines = [line for line in re.split("[\r\n]+", text) if not line.startswith("Loading weights")]
    assert len(lines) <= 60  # of 100, as three trainings of 10 epochs would have 24 lines more
    assert "shape inference" not in text and "examples/s" not in text and "{'" not in text


def test_a_run_says_what_it_will_do(log):
    folder, text = log
    begin, _, _ = text.partition("training a student/teacher")
    stages = [line for line in begin.splitlines() if line.startswith("- ")]
    assert stages == [
        "- fine-tunes encoder into a teacher on 200 labelled sentences, in 2 epochs",
        "- has the teacher label 440 sentences, once; what is stored already is not labelled again",
        "- trains the same student on 200 sentences' labels alone",
        "- trains the student, a bilstm of 2 x 8, on the teacher's answers to 400 sentences, in about 26 steps",
        "- evaluates the student, exports it to ONNX, writes report.html",
    ]
    assert re.search(r"^training a student: a bilstm of 0.0 M parameters .* 400 sentences, for 26 steps$", text, re.M)


def test_an_evaluation_is_a_line(log):
    folder, text = log
    line = r"^step (\d+) of \d+ \(epoch [\d.]+\): loss [\d.]+, on the development data F1 ([\d.]+)"
    said = re.findall(line, text, re.M)
    measured = []
    for name in ("teacher", "baseline", "."):
        history = json.loads((folder / "a student" / name / "trainer_state.json").read_text())["log_history"]
        measured += [(str(each["step"]), f"{each['eval_f1']:.4f}") for each in history if "eval_f1" in each]
    assert said == measured and len(measured) == 6


def test_the_end_says_how_to_go_on(log, monkeypatch, capsys):
    folder, text = log
    monkeypatch.chdir(folder)
    [report] = re.findall("^Look at: +(.+)$", text, re.M)
    assert Path(report).is_file()
    [command] = re.findall("^Tag files: +python run_distill.py predict (.+)$", text, re.M)
    assert parse_prediction(shlex.split(command)).model == "a student"
    [line] = re.findall("^In Python: +(.+)$", text, re.M)
    exec(line, {})
    assert capsys.readouterr().out.startswith("[")
