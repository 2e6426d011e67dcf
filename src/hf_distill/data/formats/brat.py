"""brat: a folder of texts (.txt) with stand-off annotation (.ann)."""

from collections.abc import Iterator
from pathlib import Path

from ...files import numbered_lines
from ...runtime.tags import UserError
from .documents import Document, Span, make_document


def read_brat(folder: str) -> Iterator[Document]:
    """Yield the documents of a folder, sorted by name, subfolders included; their line ends split nothing.

    Of a mention of several parts (discontinuous) the document says that it has one; it is no span.

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
            with open(path, encoding="utf-8", newline="") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: not UTF-8 ({error.reason} at byte {error.start}). Convert the file to UTF-8."
            ) from None
        yield _read_document(text, str(path), str(annotation), path.relative_to(folder).with_suffix("").as_posix())


def _read_document(text: str, path: str, annotation: str, name: str) -> Document:
    spans, discontinuous = [], 0
    for number, line in numbered_lines(annotation):
        if not line.startswith("T"):
            continue  # relations, events, attributes, normalisations, notes
        place = f"{annotation}:{number}"
        columns = line.split("\t")
        entity, _, offsets = columns[1].partition(" ") if len(columns) == 3 else ("", "", "")
        parts = [part.split(" ") for part in offsets.split(";")]
        if not all(len(part) == 2 and part[0].isdecimal() and part[1].isdecimal() for part in parts):
            raise UserError(
                f"{place}: expected an id, a type with start and end, and the text, by tabs: {line[:80]!r}."
            )
        # brat writes a mention that goes over a line end as parts with nothing but the line end between them.
        starts, ends = [int(start) for start, _ in parts], [int(end) for _, end in parts]
        if any(text[end:start].strip() for end, start in zip(ends, starts[1:], strict=False)):
            discontinuous += 1
            continue
        span = Span(entity, starts[0], ends[-1], place)
        found = " ".join(text[int(start) : int(end)] for start, end in parts)
        if found.split() != columns[2].split():
            raise UserError(
                f"{place}: the mention is {columns[2]!r}, but {span.start} to {span.end} of the text is {found!r}. "
                "Offsets count characters; line ends count as they are in the file."
            )
        spans.append(span)
    return make_document(text, spans, path, name, discontinuous=discontinuous)
