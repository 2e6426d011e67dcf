"""The README's Python and the docstrings' examples, as they stand there."""

import doctest
import re
from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoTokenizer, pipeline

import hf_distill
from hf_distill.students.save import save_model

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that they speak of."""
    for name, count, seed in (("train.tsv", 60, 1), ("devel.tsv", 30, 2)):
        tiny.write_tsv(tmp_path / name, count, seed)
    (tmp_path / "pubmed.txt").write_text("\n".join(" ".join(words) for words in tiny.sentences(40, seed=3)) + "\n")
    save_model(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), tmp_path / "my-org" / "biobert-genes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_distilling_in_python_and_using_the_student(here):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    [distil] = [block for block in blocks if "DistillationTrainer" in block]
    [find] = [block for block in blocks if "pipeline(" in block]
    names: dict = {}
    exec(distil, names)
    assert names["trainer"].state.global_step == 3 * 4
    exec(find, names)
    found = names["find"]("Loss of p53 raised MDM2 levels.")
    assert isinstance(found, list) and type(names["find"]).__name__ == "MentionPipeline"
    torch.testing.assert_close(
        dict(names["find"].model.state_dict()), {k: v.cpu() for k, v in names["student"].state_dict().items()}
    )


@pytest.mark.parametrize("name", hf_distill.__all__)
def test_every_public_name_shows_how_it_is_used(here, name):
    if name in ("MentionPipeline", "Tagger"):
        tiny.save_student(here / "student")
    names = {each: getattr(hf_distill, each) for each in hf_distill.__all__}
    names |= {"torch": torch, "pipeline": pipeline, "AutoTokenizer": AutoTokenizer}
    [example] = doctest.DocTestFinder(recurse=False).find(names[name], name, module=False, globs=names)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
