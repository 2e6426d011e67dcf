"""The blocks of code in the documentation, and the folder that they speak of."""

import gzip
import json
import re
from pathlib import Path
from typing import NamedTuple

import tiny

from hf_distill.students.save import save_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- ((?:not )?run: [^\n]+) -->\n)?^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block of code: its language, the first line of it in the page, the code, and what a comment right above says:
    `not run: REASON`, or `run: TEST`, a test that runs it and looks at what comes of it; else "".
    """

    language: str
    line: int
    code: str
    mark: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[2], text[: match.start(3)].count("\n") + 1, match[3], match[1] or "")
        for match in _BLOCK.finditer(text)
    ]


def run_python(page: Path, block: Block, names: dict) -> None:
    """Run a block of Python; what goes wrong has the page's line."""
    exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)


def write_folder(folder: Path) -> None:
    """Write corpora, text, a teacher and a student that has learnt something, under the names that pages give them."""
    for seed, name in enumerate(("train", "devel", "test"), 1):
        tiny.write_tsv(folder / f"{name}.tsv", 60 if name == "train" else 30, seed)
    text = [" ".join(words) for words in tiny.sentences(40, seed=3)]
    (folder / "pubmed.txt").write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
    with gzip.open(folder / "pubmed.txt.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in text)
    (folder / "more.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in text), encoding="utf-8")
    save_model(tiny.bert(tiny.wordpiece()), tiny.wordpiece(), folder / "my-org" / "biobert-genes")
    tiny.save_student(folder / "student", trained=True)
    for name in ("run_distill.py", "configs"):
        (folder / name).symlink_to(ROOT / name)
