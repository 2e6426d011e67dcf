"""Two processes that write to the same place."""

from pathlib import Path

import pytest
import tiny

from hf_distill.cli import main
from hf_distill.files import lock
from hf_distill.prediction.predict import lock_output
from hf_distill.runtime.tags import UserError


def test_an_output_folder_belongs_to_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("train.tsv", "val.tsv"):
        tiny.write_tsv(Path(name), 5)
    Path("out").mkdir()
    with lock(Path("out/.lock")):
        assert main([*tiny.DATA, "--distillation", "0", "--output_dir", "out"]) == 2
    assert "out/.lock: another process writes there at this moment" in capsys.readouterr().err


def test_an_output_file_belongs_to_one_call_of_predict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny.save_student(Path("student"))
    Path("in.txt").write_text("p53\n")
    command = "predict student --input in.txt --output out.jsonl --runtime pytorch".split()
    with lock(Path(".hf_distill-tmp-out.jsonl.lock")):
        assert main(command) == 2
        assert ".hf_distill-tmp-out.jsonl.lock: another process writes there at this moment" in capsys.readouterr().err
    Path(".hf_distill-tmp-out.jsonl.part-dead-0").write_text("{")
    Path("out.jsonl.part-1").write_text("mine")
    with lock_output("out.jsonl", main_process=True):
        assert sorted(path.name for path in Path().iterdir()) == [
            ".hf_distill-tmp-out.jsonl.lock",
            "in.txt",
            "out.jsonl.part-1",
            "student",
        ]
    assert not Path(".hf_distill-tmp-out.jsonl.lock").exists()


def test_a_lock_ends_with_its_holder(tmp_path):
    with pytest.raises(ValueError, match="stop"), lock(tmp_path / "a.lock"):
        raise ValueError("stop")
    with lock(tmp_path / "a.lock"), pytest.raises(UserError), lock(tmp_path / "a.lock"):
        pass
