"""The command line, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import tiny

SCRIPT = Path(__file__).parents[1] / "run_distill.py"


def test_a_refusal_is_one_message_without_a_traceback(tmp_path):
    """As a process of its own, with a status that is not 0."""
    tiny.write_tsv(tmp_path / "train_aug3.tsv", 300, seed=1)
    (tmp_path / "bad.tsv").write_text("p53\tS-GENE\n\nkinase\n")
    command = [sys.executable, str(SCRIPT), *tiny.BILSTM, "--use_cpu", "1", "--path_to_val", "bad.tsv"]
    environment = os.environ | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert "\nbad.tsv:3: expected 2 columns, a token and its tag" in "\n" + done.stderr
    assert "Traceback" not in done.stderr


def test_without_standard_error_or_its_letters(tmp_path):
    """The status stays, no file takes the messages, and letters that an encoding lacks are written as codes."""
    (tmp_path / "gène.tsv").write_text("p53\tS-GENE\n", encoding="utf-8")
    command = [sys.executable, str(SCRIPT), "convert"]

    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    assert subprocess.run([*closed, "nowhere.tsv", "out.jsonl"], cwd=tmp_path).returncode == 2
    assert subprocess.run([*closed, "gène.tsv", "out.jsonl"], cwd=tmp_path).returncode == 0
    assert (tmp_path / "out.jsonl").read_text().count("\n") == 1

    ascii_alone = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "gène.tsv", "ö.jsonl"], cwd=tmp_path, env=ascii_alone, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"\\xf6.jsonl: mentions of GENE: 1, texts: 1\n")
