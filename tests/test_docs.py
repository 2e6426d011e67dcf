"""The documentation: what stands in it runs, its links lead somewhere, and it leaves out nothing.

A block of Python, shell or YAML is run as it stands, those of a page one after another, unless a comment above it says
`<!-- not run: REASON -->`, or `<!-- run: TEST -->` where a test of its own runs it.
"""

import importlib.util
import os
import re
import subprocess
import sys

import pages
import pytest
import tiny

import hf_distill
from hf_distill.parsing import COMMANDS, parse_arguments

REFERENCE = pages.ROOT / "docs" / "reference"
RUN = ("python", "bash", "yaml")


def name(page):
    return page.relative_to(pages.ROOT).as_posix()


def to_run(page):
    return [block for block in pages.blocks(page) if block.language in RUN and not block.mark]


@pytest.mark.parametrize("page", [page for page in pages.PAGES if to_run(page)], ids=name)
def test_the_code_of_a_page_runs(tmp_path, monkeypatch, page):
    pages.write_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    names: dict = {}
    for block in to_run(page):
        if block.language == "python":
            pages.run_python(page, block, names)
        elif block.language == "bash":
            done = subprocess.run(["bash", "-euc", block.code], capture_output=True, text=True)
            assert done.returncode == 0, f"{page}:{block.line}: {done.stdout}{done.stderr}"
        else:
            (tmp_path / "page.yaml").write_text(block.code, encoding="utf-8")
            parse_arguments(["page.yaml"])


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_what_a_test_of_its_own_runs(page):
    for block in pages.blocks(page):
        kind, _, test = block.mark.partition(": ")
        assert kind != "run" or page.name in (pages.ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_links_lead_to_a_place_in_a_file(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", text):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            linked = file.read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", linked, flags=re.MULTILINE)
            slugs = [re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings]
            assert anchor in [*slugs, *re.findall(r'id="([^"]+)"', linked)], f"{target}#{anchor}"


def test_the_reference_has_every_command_and_flag():
    spec = importlib.util.spec_from_file_location("hooks", pages.ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    described = hooks.FLAGS.findall((REFERENCE / "command-line.md").read_text(encoding="utf-8"))
    assert {"" if command == "run" else command for command in described} == COMMANDS.keys()
    flags = hooks.describe_flags("run")
    assert "\n`--alpha`{ #alpha } number; default: `0.2`; with `--preset original`: `0.0`\n\n:   Weight of the" in flags
    assert "`--preset`{ #preset } `recipe`, `original`\n" in flags
    assert "`--most_uncertain`{ #predict-most_uncertain } whole number; default: `0`" in hooks.describe_flags("predict")


def test_the_reference_has_every_public_name():
    page = (REFERENCE / "python.md").read_text(encoding="utf-8")
    described = re.findall(r"^::: hf_distill\.(\w+)$", page, flags=re.MULTILINE)
    assert sorted(described) == sorted(hf_distill.__all__)


def test_the_reference_has_every_file_of_a_student(tmp_path):
    page = (REFERENCE / "student-folder.md").read_text(encoding="utf-8")
    for kind in ("bilstm", "bert"):
        files = [file for file in tiny.save_student(tmp_path / kind, kind).rglob("*") if file.is_file()]
        assert [each.name for each in files if each.name not in page] == []
