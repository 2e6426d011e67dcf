"""What ends a command is one message and an exit status; what a dead process left is removed by the next one."""

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import Tokenizer, models

from hf_distill import cli
from hf_distill.cli import main
from hf_distill.files import HOST, TEMPORARY, find_fault, replacing, temporary_folder, write_text, writing
from hf_distill.prediction.predict import lock_output
from hf_distill.students.save import save_model
from hf_distill.teachers.signals import SignalStore

RUN = [*tiny.DATA, *"--distillation 0 --use_cpu 1 --output_dir out".split()]


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """A folder with corpora, where the test runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        tiny.write_tsv(tmp_path / f"{name}.tsv", 300)


@pytest.fixture
def small_files():
    """No file can become larger than 4,000 bytes, as on a disk that gets full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("output", ["out.jsonl", "out.tsv"])
def test_a_full_disk_is_named_and_nothing_is_left_there(corpora, small_files, output, capsys):
    assert main(["convert", "train.tsv", output]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{output}: File too large. ") and "The same command begins anew." in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["train.tsv", "val.tsv"]


def test_libraries_that_cannot_write_name_no_file_but_we_do(tmp_path, small_files):
    tokenizer = tiny.wordpiece()
    with pytest.raises(OSError) as caught:
        save_model(tiny.bert(tokenizer), tokenizer, tmp_path / "student")
    assert caught.value.filename == str(tmp_path / "student")
    assert list((tmp_path / "student").iterdir()) == []
    with pytest.raises(OSError), writing("optimizer.pt"):
        torch.save({"weights": torch.zeros(10000)}, tmp_path / "optimizer.pt")
    vocabulary = {f"word{index}": index for index in range(1000)}
    with pytest.raises(OSError), writing("tokenizer.json"):
        Tokenizer(models.WordLevel(vocabulary)).save(str(tmp_path / "tokenizer.json"))


def test_a_place_that_cannot_be_written_to_is_a_message(corpora, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    command = ["convert", "train.tsv", "/sys/out.jsonl" if os.geteuid() == 0 else "locked/out.jsonl"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{command[-1]}: ") and "another place" in error and error.count("\n") == 1
    assert main([*command, "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


LONG = 5000 * "a"


@pytest.mark.parametrize(
    "command",
    [
        [LONG],
        [*RUN[:-1], LONG],
        [*RUN, "--path_to_train", LONG],
        ["convert", LONG, "out.jsonl"],
        ["predict", "student", "--input", f"{LONG}.txt", "--output", "out.jsonl"],
    ],
)
def test_a_path_that_is_too_long_is_shown_in_part(corpora, command, capsys):
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "aaa... (5,00" in error and "choose a shorter one" in error and len(error) < 400


@pytest.mark.parametrize(
    ("place", "says"),
    [("train.tsv/out", "is no folder"), ("broken", "a broken link"), ("loop/out", "leads to itself")],
)
def test_a_path_that_cannot_become_a_folder(corpora, place, says, capsys):
    Path("broken").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    assert main([*RUN[:-1], place]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{place}: ") and says in error and error.count("\n") == 1


def test_a_message_that_quotes_too_much_is_shown_in_part(corpora, capsys):
    assert main(["convert", "train.tsv", "out.tsv", "--nested", LONG]) == 2
    error = capsys.readouterr().err
    assert error.startswith("argument --nested: invalid choice: 'aaa") and error.endswith("'first'). See --help.\n")
    assert len(error) <= 2001


def test_an_error_of_this_program_keeps_its_traceback():
    for error in (FileNotFoundError(2, "No such file", "gone"), KeyError("a"), RuntimeError("unexpected")):
        assert find_fault(error) is None
    with pytest.raises(AttributeError):
        main([1])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (
            BrokenProcessPool("a child process terminated abruptly"),
            1,
            "A worker process was killed, most likely because",
        ),
        (BrokenPipeError(32, "Broken pipe"), 1, "The output, the cache"),
        (ImportError("You need to install `x`: pip install x"), 2, "You need to install `x`: pip install x"),
    ],
)
def test_errors_of_libraries_that_say_what_to_do(monkeypatch, error, status, says, capsys):
    def fail(argv):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "predict", (fail, cli.ANEW))
    assert main(["predict"]) == status
    assert capsys.readouterr().err.startswith(says)


def test_a_damaged_file_in_the_cache_of_datasets_is_named(corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    command = [
        *RUN,
        *"--preset original --vocabulary_size 20".split(),
    ]  # which is too small: that is said after reading
    assert main(command) == 2
    files = [*(tmp_path / "cache").rglob("*.arrow"), *(tmp_path / "cache").rglob("*.json")]
    assert files and "is too small" in capsys.readouterr().err
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        assert main(command) == 2
        assert "A file in the cache of datasets, " in capsys.readouterr().err
        path.write_bytes(content)


def test_a_pickle_is_refused(corpora, tmp_path, capsys):
    tokenizer = tiny.wordpiece()
    save_model(tiny.bert(tokenizer), tokenizer, tmp_path / "student")
    (tmp_path / "student" / "model.safetensors").unlink()
    torch.save({"program": Path("x")}, tmp_path / "student" / "pytorch_model.bin")
    assert main([*RUN, *"--model_name auto --student_model_name_or_path student".split()]) == 2
    error = capsys.readouterr().err
    assert "student: its weights are a pickle that holds more than tensors" in error and "safetensors" in error


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("accelerator_config", "true", "--accelerator_config true: "),
        ("accelerator_config", '{"nonsense": 1}', "nonsense"),
        ("deepspeed", "zero.json", "--deepspeed zero.json: "),
        ("logging_steps", "inf", "--logging_steps must be a finite number, got inf."),
        ("warmup_steps", "nan", "--warmup_steps must be a finite number, got nan."),
        ("seed", "-1", "--seed must be in [0, 2**32), got -1."),
        ("dataloader_num_workers", "-1", "--dataloader_num_workers must not be negative, got -1."),
        ("max_grad_norm", "nan", "--max_grad_norm must be a finite number, got nan."),
        ("weight_decay", "-1", "--weight_decay must not be negative, got -1.0."),
        ("report_to", "nobody", "--report_to nobody: nobody is not supported"),
        ("fsdp", "full_shard", "--fsdp full_shard: Using fsdp only works in distributed training."),
        ("optim", "lomo", "--optim lomo: You need to install `lomo_optim`"),
        ("optim_args", "rank", "--optim_args rank: "),
        ("torch_compile_backend", "nobody", "--torch_compile_backend nobody: "),
        ("lr_scheduler_type", "warmup_stable_decay", "--lr_scheduler_type warmup_stable_decay: "),
        ("lr_scheduler_kwargs", '{"nonsense": 1}', '--lr_scheduler_kwargs {"nonsense": 1}: '),
        ("adam_beta1", "2", "--adam_beta1 2.0: "),
    ],
)
def test_bad_values_of_trainers_own_arguments_are_named(corpora, flag, value, says, capsys):
    if flag == "optim" and find_spec("lomo_optim"):
        pytest.skip("lomo_optim is installed")
    Path("zero.json").write_text("{}")
    assert main([*RUN, f"--{flag}", value]) == 2
    assert says in capsys.readouterr().err
    assert not Path("out").exists()


STOPPED = """
import os, signal, sys
from hf_distill import cli
def work(argv):
    os.kill(os.getpid(), int(argv[0]))
    raise RuntimeError("the signal was lost")
cli.COMMANDS["predict"] = (work, cli.ANEW)
sys.exit(cli.main(["predict", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_one_line_and_a_status(number, status):
    command = [sys.executable, "-c", STOPPED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RANK": "0"})
    assert (done.returncode, done.stderr.strip()) == (status, "Stopped. The same command begins anew.")
    other = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RANK": "1"})
    assert (other.returncode, other.stderr) == (status, ""), "one process speaks for all"


def test_a_stop_of_predict_leaves_neither_processes_nor_files(tmp_path):
    tiny.save_student(tmp_path / "student")
    (tmp_path / "in.txt").write_text("p53 binds BRCA1 kinase\n" * 300_000)
    command = "predict student --input in.txt --output out.jsonl".split()
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_distill", *command],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"TQDM_DELAY": "0"},  # the bar shows at once that it is at work
        start_new_session=True,
    )
    assert process.stderr
    seen = b""
    while b"Tagging" not in seen:
        seen += process.stderr.read(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    error = process.stderr.read().decode()  # until the last process that could write there has ended
    assert process.wait() == 130
    assert "Stopped." in error and "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "student"]


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    return subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()


def leave(folder: Path, *processes: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in processes:
        (folder / f"{TEMPORARY}{name}-a.tsv").write_text("")
        (folder / f"{TEMPORARY}{name}-b").mkdir()
        (folder / f"{TEMPORARY}{name}-b" / "part").write_text("")


WRITERS = {
    "a file": lambda folder: write_text(folder / "new.txt", "text"),
    "a model": lambda folder: save_model(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), folder),
    "a folder within": lambda folder: temporary_folder(folder).__enter__(),
    "predict": lambda folder: lock_output(str(folder / "out.jsonl")).__enter__(),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_a_dead_process_left_is_removed_by_the_next(tmp_path, dead, writer):
    leave(tmp_path, f"{HOST}-{dead}", f"{HOST}-{os.getppid()}", f"0a0a0a0a-{dead}", "note")
    WRITERS[writer](tmp_path)
    left = {path.name for path in tmp_path.glob(f"{TEMPORARY}*-[ab]*")}
    assert not any(name.startswith(f"{TEMPORARY}{HOST}-{dead}-") for name in left)
    kept = (f"{HOST}-{os.getppid()}", f"0a0a0a0a-{dead}", "note")
    assert {f"{TEMPORARY}{name}-b" for name in kept} <= left, "of the living, of other machines, of others"


def test_stored_signals_are_cleared_of_it(tmp_path, dead):
    store = SignalStore(tiny.teacher(), tiny.corpus(5), tmp_path)
    leave(store.folder, f"{HOST}-{dead}")
    store.compute()
    assert [path.suffix for path in store.folder.iterdir()] == [".arrow"]


def test_a_file_that_is_not_finished_takes_no_place(tmp_path):
    write_text(tmp_path / "a.json", "{}")
    with pytest.raises(KeyError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{")
        raise KeyError
    assert json.loads((tmp_path / "a.json").read_text()) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
