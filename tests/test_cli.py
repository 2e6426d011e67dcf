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
