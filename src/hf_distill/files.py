"""Atomic file writing, reading the files of a training run, and plain-text tables."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically: to a temporary file that is then renamed."""
    temporary = Path(f"{path}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: str | Path, content) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object; an empty one if the file does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run: one with a trainer state, which Trainer writes last."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def training_state(folder: Path) -> dict:
    """Read the `trainer_state.json` of a run, else that of its newest checkpoint; empty if there is none."""
    source = folder if (folder / "trainer_state.json").exists() else last_whole_checkpoint(folder)
    return read_json(source / "trainer_state.json") if source else {}


def write_columns(path: str | Path, *columns: Iterable[Sequence[str]]) -> None:
    """Write a TSV file atomically: one line per word, an empty line after each sentence.

    Args:
        path: the file; its folder is created if needed.
        columns: the values of each column (tokens, tags, ...), one sequence per sentence with one value per word.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.tmp-{os.getpid()}")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for sentence in zip(*columns, strict=True):
            file.writelines("\t".join(word) + "\n" for word in zip(*sentence, strict=True))
            file.write("\n")
    os.replace(temporary, path)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a plain-text table, the first column aligned left, the others aligned right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
