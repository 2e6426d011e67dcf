"""The README's Python and the docstrings' examples, as they stand there."""

import doctest

import pages
import pytest
import torch
from transformers import AutoTokenizer, pipeline

import hf_distill

README = pages.ROOT / "README.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that they speak of."""
    pages.write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_distilling_in_python(here):
    [distil] = [block for block in pages.blocks(README) if block.mark.startswith("run:")]
    names: dict = {}
    pages.run_python(README, distil, names)
    assert names["trainer"].state.global_step == 3 * 4
    find = pipeline(model="student", trust_remote_code=True)
    assert isinstance(find("Loss of p53 raised MDM2 levels."), list) and type(find).__name__ == "MentionPipeline"
    torch.testing.assert_close(
        dict(find.model.state_dict()), {k: v.cpu() for k, v in names["student"].state_dict().items()}
    )


@pytest.mark.parametrize("name", hf_distill.__all__)
def test_every_public_name_shows_how_it_is_used(here, name):
    names = {each: getattr(hf_distill, each) for each in hf_distill.__all__}
    names |= {"torch": torch, "pipeline": pipeline, "AutoTokenizer": AutoTokenizer}
    [example] = doctest.DocTestFinder(recurse=False).find(names[name], name, module=False, globs=names)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
