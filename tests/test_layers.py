"""Imports between wings (folders): only downwards, never in a circle; files of runtime/ only from each other."""

import ast
import importlib.util
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hf_distill

ROOT = Path(hf_distill.__file__).parent

# Lowest first. A file at the top counts as a wing of its own.
WINGS = """
    runtime clients files arguments presets training_arguments data teachers students prediction labellers evaluation
    publishing training workflow parsing cli __init__ __main__
""".split()
TORCH_FILES = ("configuration_bilstm", "modeling_bilstm", "pipeline")  # of runtime/


def module_name(path: Path) -> str:
    return ".".join(["hf_distill", *path.relative_to(ROOT).with_suffix("").parts])


FILES = {module_name(path): path for path in ROOT.rglob("*.py")}


def wing(module: str) -> str:
    return module.split(".")[1]


def imports(name: str) -> set[str]:
    """The modules that a file imports, at its top or inside a function, but for those that type checkers alone read."""
    package = name.rpartition(".")[0]
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for_checkers = [
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    found = set()
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                # `from . import losses` names a module, `from .losses import logit_mse` a thing in one.
                full = f"{module}.{alias.name}"
                found.add(full if full in FILES else module)
    return {"hf_distill.__init__" if module == "hf_distill" else module for module in found}


def own(name: str) -> set[str]:
    return {module for module in imports(name) if module.partition(".")[0] == "hf_distill"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_come_from_below(name):
    level = WINGS.index(wing(name))
    assert {module for module in own(name) if WINGS.index(wing(module)) > level} == set()


def test_no_imports_run_in_a_circle():
    TopologicalSorter({name: own(name) for name in FILES}).prepare()


@pytest.mark.parametrize("name", sorted(name for name in FILES if wing(name) == "runtime"))
def test_runtime_can_travel(name):
    """A saved student carries these files to users who do not have this package."""
    foreign = {module.partition(".")[0] for module in imports(name)} - set(sys.stdlib_module_names) - {"hf_distill"}
    allowed = {"numpy", "tokenizers", "huggingface_hub", "onnxruntime"}
    if name.rpartition(".")[2] in TORCH_FILES:
        allowed |= {"torch", "transformers"}
    assert foreign <= allowed
    # They lie in one folder, and transformers, which reads them there, knows `from .tags import ...` alone.
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert all(node.level == 1 and node.module and "." not in node.module for node in relative)
    # It refuses to load code that imports what is not installed, but for what stands in a `try`.
    tried = [node for block in ast.walk(tree) if isinstance(block, ast.Try) for node in ast.walk(block)]
    found = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in tried]
    assert not any("onnxruntime" in ast.unparse(node) for node in found)


def test_wings_hold_no_code_of_their_own():
    assert [path for path in ROOT.rglob("*/__init__.py") if path.read_text()] == []


def test_imports_are_found():
    assert {"hf_distill.training.losses", "hf_distill.runtime.tags", "torch"} <= imports("hf_distill.training.trainer")
    assert "hf_distill.runtime.configuration_bilstm" in imports("hf_distill.runtime.modeling_bilstm")


@pytest.mark.parametrize("name", ["pipeline", "modeling_bilstm", "configuration_bilstm"])
def test_what_travels_is_imported_by_the_file_that_takes_it_along(name):
    """transformers 5.0 leaves behind what only the others import."""
    direct = own(f"hf_distill.runtime.{name}")
    assert {further for each in direct for further in own(each)} <= direct
