import ast
from pathlib import Path

import hf_distill


def test_type_checkers_see_the_names_that_are_imported_lazily():
    [block] = [node for node in ast.parse(Path(hf_distill.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == hf_distill._MODULES
    assert all(hasattr(hf_distill, name) for name in hf_distill.__all__)
