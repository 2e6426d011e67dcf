"""What a run has not written is not published."""

import os
import shutil
from pathlib import Path

import pytest
import tiny
from hub_server import ROUTES, Handler, Refusal, hub_fixture  # noqa: F401

from hf_distill.cli import main
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


def gone(handler: Handler, *_) -> None:
    """The connection is cut."""
    handler.close_connection = True
    handler.connection.close()
    raise Refusal(404, "gone")


def refused(handler: Handler, *_) -> None:
    raise Refusal(403, "The quota is used up")


@pytest.mark.parametrize(("step", "fault"), [("push", gone), ("push", refused), ("large_upload", refused)])
def test_a_hub_that_fails_at_the_end_is_a_message_and_the_same_command_publishes(
    hub, tmp_path, monkeypatch, step, fault, capfd
):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("train", 1), ("val", 2)):
        tiny.write_tsv(Path(f"{name}.tsv"), 20, seed)
    command = [*tiny.DATA, *"--preset original --distillation 0 --vocabulary_size 300 --embedding_type train".split()]
    command += "--embedding_size 8 --hidden_size 8 --max_steps 1 --use_cpu 1 --output_dir out --push_to_hub 1".split()
    command += ["--hub_token", hub.token]
    with monkeypatch.context() as patch:
        patch.setattr("hub_server.ROUTES", [(*r[:2], fault if r[2].__name__ == step else r[2]) for r in ROUTES])
        assert main(command) == 2
    printed = capfd.readouterr()
    message = printed.err.rpartition("--push_to_hub: ")[2]
    assert message.startswith("tester/out could not be published (")
    assert message.endswith("out is complete: the same command publishes it.\n")
    assert "Traceback" not in printed.err and hub.token not in printed.err + printed.out
    assert len(hub.repos["tester/out"].commits) == 1, "half a student is not published"
    weights = Path("out/model.safetensors").read_bytes()
    assert main(command) == 0
    assert hub.repos["tester/out"].files()["model.safetensors"] == weights
    told = [path for path in Path().rglob("*") if path.is_file() and hub.token.encode() in path.read_bytes()]
    assert not told, "the token is in no file"
