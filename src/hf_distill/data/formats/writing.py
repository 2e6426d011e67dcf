"""Texts with mentions, as annotation tools read them for correction."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...files import replacing
from ...runtime.tags import UserError

to_json = json.JSONEncoder(ensure_ascii=False).encode


def write_annotations(texts: Iterable[Mapping[str, Any]], output: str, form: str) -> None:
    """Write texts with mentions for an annotation tool, atomically.

    Args:
        texts: objects with `text` (or `tokens`, which are joined by blanks), `mentions`, and any other fields.
        output: the file, for brat the folder.
        form: labelstudio, doccano, prodigy, pubtator or brat.

    Raises:
        UserError: the format cannot represent a text.
    """
    read = ((fields, fields["text"] if "text" in fields else " ".join(fields["tokens"])) for fields in texts)
    writers: dict[str, Callable[[Iterator[tuple[Mapping, str]]], Iterator[str]]] = {
        "labelstudio": _label_studio,
        "doccano": lambda found: (f"{to_json(_doccano(*each))}\n" for each in found),
        "prodigy": lambda found: (f"{to_json(_prodigy(*each))}\n" for each in found),
        "pubtator": _pubtator,
    }
    with replacing(output) as temporary:
        if form == "brat":
            _write_brat(read, temporary)
        else:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.writelines(writers[form](read))


def _others(fields: Mapping) -> dict[str, Any]:
    """The other fields, apart, because some names mean something to the tools."""
    others = {name: value for name, value in fields.items() if name not in ("text", "tokens", "mentions")}
    return {"meta": others} if others else {}


def _doccano(fields: Mapping, text: str) -> dict[str, Any]:
    labels = [[mention["start"], mention["end"], mention["entity_group"]] for mention in fields["mentions"]]
    return _others(fields) | {"text": text, "label": labels}


def _prodigy(fields: Mapping, text: str) -> dict[str, Any]:
    spans = [
        {"start": mention["start"], "end": mention["end"], "label": mention["entity_group"], "score": mention["score"]}
        for mention in fields["mentions"]
    ]
    return _others(fields) | {"text": text, "spans": spans}


def _label_studio(texts: Iterator[tuple[Mapping, str]]) -> Iterator[str]:
    """A list of tasks with a prediction each, for a labelling interface with `<Labels name="label" toName="text">`."""
    yield "["
    for number, (fields, text) in enumerate(texts):
        result = [
            {
                "id": str(index),
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "score": mention["score"],
                "value": {
                    "start": mention["start"],
                    "end": mention["end"],
                    "text": mention["word"],
                    "labels": [mention["entity_group"]],
                },
            }
            for index, mention in enumerate(fields["mentions"])
        ]
        predictions = [{"model_version": "hf_distill", "result": result}]
        task = {"data": _others(fields) | {"text": text}, "predictions": predictions}
        yield f"{',' if number else ''}\n{to_json(task)}"
    yield "\n]\n"


def _pubtator(texts: Iterator[tuple[Mapping, str]]) -> Iterator[str]:
    """The text as the title, with an empty abstract; mentions with no concept (-)."""
    for number, (fields, text) in enumerate(texts, 1):
        if re.search(r"[\n\r\t]", text):
            raise UserError(
                f"Text {number}: PubTator has no line ends and tabs in texts: {text[:60]!r:.200}. Split it."
            )
        yield f"{number}|t|{text}\n{number}|a|\n"
        for mention in fields["mentions"]:
            columns = (number, mention["start"], mention["end"], mention["word"], mention["entity_group"], "-")
            yield "\t".join(map(str, columns)) + "\n"
        yield "\n"


def _write_brat(texts: Iterator[tuple[Mapping, str]], folder: Path) -> None:
    folder.mkdir()
    types: dict[str, None] = {}
    for number, (fields, text) in enumerate(texts, 1):
        lines = []
        for index, mention in enumerate(fields["mentions"], 1):
            entity = mention["entity_group"]
            if re.search(r"\s", entity):
                raise UserError(
                    f"brat has no blanks in the names of entity types: {entity!r:.200}. Use another format."
                )
            types[entity] = None
            # A mention over a line end is written in parts.
            parts = [part.span() for part in re.finditer(r"[^\n\r]+", mention["word"])]
            offsets = ";".join(f"{mention['start'] + start} {mention['start'] + end}" for start, end in parts)
            word = re.sub(r"[\n\r\t]+", " ", mention["word"])
            lines.append(f"T{index}\t{entity} {offsets}\t{word}\n")
        name = folder / f"{number:07}"
        name.with_suffix(".txt").write_text(text, encoding="utf-8", newline="")
        name.with_suffix(".ann").write_text("".join(lines), encoding="utf-8", newline="")
    entities = "".join(f"{entity}\n" for entity in sorted(types))
    sections = f"[entities]\n{entities}[relations]\n[events]\n[attributes]\n"
    (folder / "annotation.conf").write_text(sections, encoding="utf-8")
