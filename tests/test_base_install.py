"""What works with the packages of the base install alone, and what the rest says without those of `train`."""

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import tiny
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_distill
from hf_distill import Tagger

SENTENCES = [" ".join(words) for words in tiny.sentences(20, seed=6)]


def requirements(name: str, found: set[str]) -> set[str]:
    """The packages that a package needs, with all that they need in turn, and itself; without extras."""
    if canonicalize_name(name) not in found:
        found.add(canonicalize_name(name))
        for each in map(Requirement, distribution(name).requires or []):
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                requirements(each.name, found)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs code with these packages and no others."""
    packages = tmp_path_factory.mktemp("packages")
    for name in requirements("hf_distill", set()) - {"hf-distill"}:
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top))
    (packages / "hf_distill").symlink_to(Path(hf_distill.__file__).parent)

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
        setup = f"import sys; sys.path.append({str(packages)!r})\n"
        command = [sys.executable, "-I", "-S", "-c", setup + code, *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny.save_student(tmp_path_factory.mktemp("student"))


COMMAND = "from hf_distill.cli import main; sys.exit(main(sys.argv[1:]))"


def test_a_student_finds_mentions(python, student):
    done = python(
        "import importlib.util, json\n"
        "assert not any(map(importlib.util.find_spec, ('torch', 'transformers', 'datasets')))\n"
        "from hf_distill import Tagger\n"
        "find = Tagger.from_pretrained(sys.argv[1])\n"
        "print(json.dumps([find(text) for text in json.loads(sys.argv[2])]))",
        str(student),
        json.dumps(SENTENCES),
    )
    find = Tagger(student)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [find(text) for text in SENTENCES]


def test_files_are_tagged(python, student, tmp_path):
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in SENTENCES))
    arguments = ["predict", str(student), "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.jsonl")]
    done = python(f"if __name__ == '__main__':\n    {COMMAND}", *arguments)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["mentions"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == Tagger(student)(SENTENCES)


def test_corpora_are_converted(python, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "Loss of p53.", "spans": [[8, 11, "GENE"]]}\n')
    for name in ("out.jsonl", "out.tsv"):
        done = python(COMMAND, "convert", str(tmp_path / "in.jsonl"), str(tmp_path / name))
        assert done.returncode == 0 and "mentions of GENE: 1" in done.stdout, done.stderr
    assert (tmp_path / "out.tsv").read_text() == "Loss\tO\nof\tO\np53\tS-GENE\n.\tO\n\n"


def test_help_is_there(python):
    done = python(COMMAND, "--help")
    assert done.returncode == 0, done.stderr
    assert "--teacher_model_name_or_path" in done.stdout and "--alpha" in done.stdout and "--help-all" in done.stdout
    assert "--weight_decay" not in done.stdout, "an option of transformers alone"
    assert "--input" in python(COMMAND, "predict", "--help").stdout


def test_the_rest_says_what_it_needs(python, student, tmp_path):
    for name in ("DistillationTrainer", "build_student", "MentionPipeline"):
        done = python(f"from hf_distill import {name}")
        assert f"ImportError: {name} needs " in done.stderr and 'pip install "hf_distill[train]"' in done.stderr
    (tmp_path / "in.txt").write_text("p53\n")
    annotate = ["annotate", "openai:m", "--labels", "A", "--input", str(tmp_path / "in.txt")]
    done = python(COMMAND, *annotate, "--output", str(tmp_path / "out.jsonl"))
    assert done.returncode == 2 and 'openai:m needs openai: pip install "hf_distill[openai]"' in done.stderr
    pytorch = ["predict", str(student), "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.tsv")]
    for arguments in (["quickstart"], [*pytorch, "--runtime", "pytorch"], ["report", str(tmp_path)], ["--help-all"]):
        done = python(COMMAND, *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "This needs " in done.stderr and 'pip install "hf_distill[train]"' in done.stderr
