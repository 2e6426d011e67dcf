"""PubTator: a title line, an abstract line and lines of mentions for each document, and an empty line after it."""

from collections.abc import Iterator

from ...files import numbered_lines
from ...runtime.tags import UserError
from .documents import Document, Span, make_document


def read_pubtator(path: str) -> Iterator[Document]:
    """Yield the documents of a file; their text is the title, a blank, and the abstract.

    Lines of relations (ID, type, concepts) are counted and left out.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    name, place = "", ""
    parts: dict[str, str] = {}
    mentions: list[tuple[str, Span]] = []
    relations, empty = 0, True

    def finish() -> Iterator[Document]:
        if not parts:
            return
        if "t" not in parts:
            raise UserError(f"{place}: the document {name:.80} has no title line ({name:.80}|t|...).")
        text = " ".join(part for part in (parts["t"], parts.get("a")) if part)
        left_out = {"relations": relations} if relations else {}
        document = make_document(text, [span for _, span in mentions], place, name, left_out=left_out)
        for word, span in mentions:
            if text[span.start : span.end] != word:
                raise UserError(
                    f"{span.place}: the mention is {word!r:.200}, but {span.start} to {span.end} of the text (title, a "
                    f"blank, abstract) is {text[span.start : span.end]!r:.200}."
                )
        yield document

    for number, line in numbered_lines(path):
        here = f"{path}:{number}"
        if not line.strip():
            yield from finish()
            name, parts, mentions, relations = "", {}, [], 0
            continue
        empty = False
        columns = line.split("\t")
        identifier, *rest = line.split("|", 2)
        if len(rest) == 2 and rest[0] in ("t", "a") and (columns[0] != name or not parts):
            if parts and (identifier != name or rest[0] in parts or mentions or relations):
                raise UserError(f"{here}: a new document begins without an empty line before it: {line[:60]!r:.200}.")
            name, place = identifier, place if parts else here
            parts[rest[0]] = rest[1]
        elif not parts or columns[0] != name:
            raise UserError(f"{here}: belongs to no document, expected {name or 'ID':.80}|t|TITLE: {line[:60]!r:.200}.")
        elif len(columns) >= 4 and not columns[1].isdecimal():
            relations += 1
        elif len(columns) >= 5 and columns[2].isdecimal():
            mentions.append((columns[3], Span(columns[4], int(columns[1]), int(columns[2]), here)))
        else:
            raise UserError(f"{here}: expected ID, start, end, text and type, separated by tabs: {line[:80]!r:.200}.")
    yield from finish()
    if empty:
        raise UserError(f"{path}:1: the file has no document.")
