"""Damaged output folders: a run goes on exactly, or is refused."""

import json
import shutil
from pathlib import Path

import pytest
import tiny

from hf_distill.cli import main
from hf_distill.students.save import save_model
from hf_distill.training.trainer import DistillationTrainer

RUN = """--model_name auto --student_model_name_or_path student --distillation 0 --num_train_epochs 3 --use_cpu 1
--bf16 0 --per_device_train_batch_size 8 --learning_rate 1e-3 --output_dir out""".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the data, the student that it began with, and a finished run; it kept two checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    for name, seed in (("train", 1), ("val", 2)):
        tiny.write_tsv(folder / f"{name}.tsv", 24, seed)
    tokenizer = tiny.wordpiece()
    save_model(tiny.bert(tokenizer), tokenizer, folder / "student")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*tiny.DATA, *RUN]) == 0
    return folder


@pytest.fixture
def interrupted(finished, tmp_path, monkeypatch):
    """The same, as if it had been killed before its end. Returns the weights it came to."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    weights = Path("out/model.safetensors").read_bytes()
    for name in ("model.safetensors", "all_results.json"):
        Path("out", name).unlink()
    return weights


def cut(path: str, size: int = 100) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:size])


def best_checkpoint() -> Path:
    """The best one, by the state of the newest."""
    return Path(json.loads(Path("out/checkpoint-9/trainer_state.json").read_text())["best_model_checkpoint"])


DAMAGES = {
    "nothing": lambda: None,
    "the state was being written": lambda: cut("out/checkpoint-9/trainer_state.json", 0),
    "no manifest": lambda: Path("out/checkpoint-9/manifest.json").unlink(),
    "manifest cut": lambda: cut("out/checkpoint-9/manifest.json"),
    "weights cut": lambda: cut("out/checkpoint-9/model.safetensors"),
    "no optimizer": lambda: Path("out/checkpoint-9/optimizer.pt").unlink(),
    "no scheduler": lambda: Path("out/checkpoint-9/scheduler.pt").unlink(),
    "no random state": lambda: Path("out/checkpoint-9/rng_state.pth").unlink(),
    "no checkpoint": lambda: [shutil.rmtree(path) for path in Path("out").glob("checkpoint-*")],
    "no best checkpoint": lambda: shutil.rmtree(best_checkpoint()),
    "a folder of another name": lambda: Path("out/checkpoint-old").mkdir(),
    "leftovers": lambda: (Path("out/.hf_distill-tmp-a").mkdir(), Path("out/thesis.tmp-2024").touch()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_comes_to_the_same_end(finished, interrupted, damage, capsys):
    DAMAGES[damage]()
    assert main([*tiny.DATA, *RUN]) == 0, capsys.readouterr().err
    assert Path("out/model.safetensors").read_bytes() == interrupted
    states = [json.loads(Path(folder, "out/trainer_state.json").read_text()) for folder in (finished, ".")]
    losses = [state["log_history"][-1]["train_loss"] for state in states]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5), "of the whole run"
    assert not list(Path("out").glob(".hf_distill-tmp-*")), "nothing is left"
    assert Path("out/thesis.tmp-2024").exists() == (damage == "leftovers"), "what is not ours stays"


def test_another_number_of_processes_is_refused(interrupted, capsys):
    for folder in Path("out").glob("checkpoint-*"):
        names = json.loads((folder / "manifest.json").read_text())
        for rank in range(2):
            shutil.copy(folder / "rng_state.pth", folder / f"rng_state_{rank}.pth")
            names[f"rng_state_{rank}.pth"] = names["rng_state.pth"]
        (folder / "manifest.json").write_text(json.dumps(names))
    assert main([*tiny.DATA, *RUN]) == 2
    assert "was written by 2 process(es); with 1 other sentences would follow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda: cut("out/model.safetensors"), "model.safetensors: missing, or changed since this run wrote it"),
        (lambda: cut("out/job.json", 0), "job.json is missing or damaged"),
    ],
)
def test_a_damaged_end_is_refused(finished, tmp_path, monkeypatch, damage, says, capsys):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    damage()
    assert main([*tiny.DATA, *RUN]) == 2
    assert says in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    command = [
        *tiny.DATA,
        *RUN[:-1],
        str(tmp_path / "new"),
        "--seed",
        "7",
        "--resume_from_checkpoint",
        "out/checkpoint-9",
    ]
    assert main(command) == 2
    assert "out/checkpoint-9 is a checkpoint of a different run" in capsys.readouterr().err


def test_an_edited_card_does_not_stop_a_run(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    for name in ("README.md", "all_results.json"):
        Path("out", name).write_text(Path("out", name).read_text() + "\n")
    assert main([*tiny.DATA, *RUN]) == 0


def test_a_damaged_teacher_is_fine_tuned_anew(finished, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(finished)
    command = "--teacher_model_name_or_path student --do_train_teacher 1 --teacher_num_train_epochs 1 --do_train 0"
    command += f" --use_cpu 1 --bf16 0 --output_dir {tmp_path}/out"
    assert main([*tiny.DATA, *command.split()]) == 0
    weights = tmp_path / "out" / "teacher" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\0")
    assert main([*tiny.DATA, *command.split()]) == 0
    assert weights.read_bytes() == content
    assert "files are missing or changed: it is trained anew" in caplog.text


def test_a_learnt_tokenizer_that_is_damaged_is_learnt_again(finished, tmp_path, monkeypatch):
    for name in ("train.tsv", "val.tsv"):
        shutil.copy(finished / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    command = (
        f"--tokenizer_name {finished}/student --distillation 0 --vocabulary_size 150 --embedding_size 4 --hidden_size 4"
    )
    command += " --max_steps 1 --use_cpu 1 --bf16 0 --output_dir out"
    assert main([*tiny.DATA, *command.split()]) == 0
    learnt = Path("out/tokenizer/tokenizer.json").read_bytes()
    cut("out/tokenizer/tokenizer.json")
    Path("out/all_results.json").unlink()
    assert main([*tiny.DATA, *command.split()]) == 0
    assert Path("out/tokenizer/tokenizer.json").read_bytes() == learnt


def test_a_best_checkpoint_that_goes_away_meanwhile_is_missed(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    weights = Path("out/model.safetensors").read_bytes()
    shutil.rmtree("out")
    load = DistillationTrainer._load_best_model

    def lose(trainer):
        shutil.rmtree(trainer.state.best_model_checkpoint)
        load(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "_load_best_model", lose)
        assert main([*tiny.DATA, *RUN]) == 2
    assert "is gone or not whole. The same command goes on from the last one" in capsys.readouterr().err
    assert main([*tiny.DATA, *RUN]) == 0
    assert Path("out/model.safetensors").read_bytes() == weights
