import ast
import importlib.util
import sys
from pathlib import Path

import pytest

import hf_distill

ROOT = Path(hf_distill.__file__).parent

# A file imports only from layers below its own. A new file has to be given its place here.
LAYERS = [
    [
        "labels",
        "losses",
        "arguments",
        "projection",
        "files",
        "words",
        "onnx_model",
        "plots",
        "models",
        "models.configuration_bilstm",
        "models.modeling_bilstm",
    ],
    ["data", "alignment", "errors", "metrics", "loading", "parsing"],
    ["augmentation", "card_tables", "encoding", "pipeline", "teacher", "job", "onnx_export", "vocabulary"],
    ["students", "signals", "batching", "corpora", "export", "hub", "model_card", "report", "tagging"],
    ["trainer", "benchmark", "prediction"],
    ["stages", "evaluation"],
    ["run"],
    ["cli", "__init__"],
    ["__main__"],
]
LEVEL = {f"hf_distill.{name}": level for level, names in enumerate(LAYERS) for name in names}


def module_name(path):
    return "hf_distill." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imports(name):
    """Every module that a file imports, at its top or inside a function."""
    path = FILES[name]
    package = ".".join(["hf_distill", *path.relative_to(ROOT).parent.parts])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                # `from . import losses` names a module, `from .losses import logit_mse` a thing in one.
                full = f"{module}.{alias.name}"
                found.add(full if full in LEVEL else module)
    return {"hf_distill.__init__" if module == "hf_distill" else module for module in found}


def test_every_file_has_its_layer():
    assert sorted(FILES) == sorted(LEVEL)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_come_from_below(name):
    own = {module for module in imports(name) if module.startswith("hf_distill")}
    if name.startswith("hf_distill.models"):
        own = {module for module in own if not module.startswith("hf_distill.models")}
    assert {module: LEVEL[module] for module in own if LEVEL[module] >= LEVEL[name]} == {}


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.startswith("hf_distill.models")])
def test_model_files_need_only_torch_and_transformers(name):
    """The Hub carries them as remote code, to users who do not have this package."""
    foreign = {module.partition(".")[0] for module in imports(name) if not module.startswith("hf_distill.models")}
    assert foreign - set(sys.stdlib_module_names) <= {"torch", "transformers"}


def test_imports_are_found():
    assert {"hf_distill.losses", "hf_distill.alignment", "torch"} <= imports("hf_distill.trainer")
    assert "hf_distill.models.configuration_bilstm" in imports("hf_distill.models.modeling_bilstm")
