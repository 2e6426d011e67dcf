"""What a run has not written is not published."""

import os
import shutil

import pytest
import tiny

from hf_distill.publishing import hub
from hf_distill.runtime.tags import UserError
from hf_distill.students.save import save_model
from hf_distill.training_arguments import DistillationArguments


@pytest.fixture
def pushed(monkeypatch):
    """What is pushed, by name."""
    contents: dict[str, bytes] = {}
    monkeypatch.setattr(hub, "_commit", lambda files, *args, **kwargs: contents.update(files))
    return contents


@pytest.fixture
def folder(tmp_path):
    tokenizer = tiny.wordpiece()
    save_model(tiny.bert(tokenizer), tokenizer, tmp_path / "out")
    return tmp_path / "out"


def test_foreign_files_and_links_stay_at_home(folder, tmp_path, pushed, caplog):
    own = {path.name for path in folder.iterdir()} - {"manifest.json"}
    (tmp_path / "secret").write_text("secret")
    (folder / "settings.py").write_text("TOKEN = 'secret'")
    (folder / ".env").write_text("secret")
    os.symlink(tmp_path / "secret", folder / "x.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_text("secret")
    os.symlink(tmp_path / "elsewhere", folder / "onnx")
    hub.publish(folder, DistillationArguments(str(folder)), "")
    assert set(pushed) == own
    assert "not published, because this run did not write it: onnx/model.onnx, settings.py, x.png" in caplog.text


def test_a_card_may_be_anybodys_but_no_link(folder, tmp_path, pushed):
    (folder / "README.md").write_text("mine")
    hub.publish(folder, DistillationArguments(str(folder)), "")
    assert pushed.pop("README.md") == b"mine"
    (folder / "README.md").unlink()
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", folder / "README.md")
    pushed.clear()
    hub.publish(folder, DistillationArguments(str(folder)), "")
    assert "README.md" not in pushed


@pytest.mark.parametrize("kind", ["changed", "link"])
def test_files_that_were_changed_are_refused(folder, tmp_path, pushed, kind):
    config = folder / "config.json"
    if kind == "changed":
        config.write_text(config.read_text() + "\n")
    else:
        shutil.move(config, tmp_path / "config.json")
        os.symlink(tmp_path / "config.json", config)
    with pytest.raises(UserError, match="config.json: missing, or changed since this run wrote it"):
        hub.publish(folder, DistillationArguments(str(folder)), "")
    assert not pushed


def test_a_checkpoint_is_published_by_the_names_that_trainer_writes(folder, pushed):
    (folder / "trainer_state.json").write_text('{"best_model_checkpoint": null}')
    for name in ("optimizer.pt", "rng_state.pth", "notes.txt", ".env"):
        (folder / name).write_text("content")
    own = {path.name for path in folder.iterdir()} - {"manifest.json", "notes.txt", ".env"}
    hub.publish_checkpoint(folder, "last-checkpoint", DistillationArguments(str(folder)), "")
    assert set(pushed) == {f"last-checkpoint/{name}" for name in own}
