"""The notebooks in docs/ as they are stored, with their outputs. (`.ci/run` executes them.)"""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_stored_notebook_was_executed_in_order_and_shows_no_path_of_the_machine(path):
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    shown = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    assert shown and not re.search(r"(?<![\w.])/\w+/", json.dumps(shown))
