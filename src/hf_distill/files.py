"""Files that are whole as soon as they are there, those that a run leaves, and tables."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_text(path: str | Path, text: str) -> None:
    """Write text under a temporary name, then rename it: a file that is there is whole."""
    temporary = Path(f"{path}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: str | Path, content) -> None:
    """Write JSON, as `write_text` does."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """An object in a JSON file; empty where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that was written to its end (Trainer writes its state last)."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def training_state(folder: Path) -> dict:
    """The `trainer_state.json` of a run, or else of its newest checkpoint; empty where there is none."""
    place = folder if (folder / "trainer_state.json").exists() else last_whole_checkpoint(folder)
    return read_json(place / "trainer_state.json") if place else {}


def write_columns(path: str | Path, *columns: Iterable[Sequence[str]]) -> None:
    """Write a TSV: a line for each word, an empty line after each sentence.

    Args:
        path: the file; its folder is made where it is missing.
        columns: of each sentence what stands in this column for its words, such as tokens, then tags.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.tmp-{os.getpid()}")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for sentence in zip(*columns, strict=True):
            file.writelines("\t".join(word) + "\n" for word in zip(*sentence, strict=True))
            file.write("\n")
    os.replace(temporary, path)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain-text table, the first column flush left, the others flush right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
