"""brat: a folder of texts (.txt) with stand-off annotation (.ann)."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ...files import numbered_lines, read_bytes
from ...runtime.tags import UserError
from .documents import Document, Span, make_document

# What else annotation has, by the first character of its lines.
OTHERS = dict.fromkeys("REAMN*", "relations, events and attributes") | {"#": "notes"}


def read_brat(folder: str) -> Iterator[Document]:
    """Yield the documents of a folder, sorted by name, subfolders included; their line ends split nothing.

    Mentions of several parts (discontinuous), and all that is no mention, are counted and left out.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    texts = sorted(Path(folder).rglob("*.txt"))
    alone = sorted(
        {path.with_suffix("") for path in Path(folder).rglob("*.ann")} - {path.with_suffix("") for path in texts}
    )
    if alone:
        raise UserError(f"{alone[0]}.ann: there is no {alone[0].name}.txt beside it.")
    if not texts:
        raise UserError(f"{folder}: a folder without .txt and .ann files, as brat writes them.")
    for path in texts:
        annotation = path.with_suffix(".ann")
        if not annotation.is_file():
            raise UserError(
                f"{path}: there is no {annotation.name} beside it; for a text without mentions an empty one."
            )
        try:
            text = read_bytes(str(path)).decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: not UTF-8 ({error.reason} at byte {error.start}). Convert the file to UTF-8."
            ) from None
        yield _read_document(text, str(path), str(annotation), path.relative_to(folder).with_suffix("").as_posix())


def _read_document(text: str, path: str, annotation: str, name: str) -> Document:
    spans, left_out = [], Counter[str]()
    for number, line in numbered_lines(annotation):
        place = f"{annotation}:{number}"
        if not line.strip():
            continue
        if line[0] in OTHERS:
            left_out[OTHERS[line[0]]] += 1
            continue
        columns = line.split("\t", 2)
        entity, _, offsets = columns[1].partition(" ") if len(columns) == 3 else ("", "", "")
        parts = [part.split(" ") for part in offsets.split(";")]
        whole = all(len(part) == 2 and part[0].isdecimal() and part[1].isdecimal() for part in parts)
        if not line.startswith("T") or not whole:
            raise UserError(
                f"{place}: expected an id, a type with start and end, and the text, by tabs: {line[:80]!r:.200}."
            )
        places = sorted((int(start), int(end)) for start, end in parts)
        # A mention that goes over a line end has parts with nothing but the line end between them.
        if any(text[end:start].strip() for (_, end), (start, _) in pairwise(places)):
            left_out["discontinuous mentions"] += 1
            continue
        span = Span(entity, places[0][0], places[-1][1], place)
        found = text[span.start : span.end]
        if found.split() != columns[2].split():
            raise UserError(
                f"{place}: the mention is {columns[2]!r:.80}, but {span.start} to {span.end} of the text is "
                f"{found!r:.80}. Offsets count characters; line ends count as they are in the file."
            )
        spans.append(span)
    return make_document(text, spans, path, name, left_out=left_out)
