"""Columns: a word and its tag per line, an empty line after each sentence (TSV, CoNLL).

A line of blanks and tabs counts as empty: that of WNUT 2017's files has a tab. Before a sentence there may be comments
(lines that begin with # and have another number of columns) and a line that begins with -DOCSTART-.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from ...files import LONGEST_LINE, numbered_lines
from ...runtime.tags import UserError
from .documents import Sentence


def read_columns(
    path: str,
    blanks: bool = False,
    token_column: int | None = None,
    tag_column: int | None = None,
    others: Counter[str] | None = None,
) -> Iterator[Sentence]:
    """Yield the sentences of a file.

    Args:
        path: the file.
        blanks: whether a line without a tab has its columns between blanks (CoNLL).
        token_column: number of the words' column, from 1; None: the first.
        tag_column: number of the tags' column, from 1; None: the last.
        others: counts lines that belong to no sentence.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    others = Counter() if others is None else others
    first, last = (token_column or 1) - 1, -1 if tag_column is None else tag_column - 1
    tokens: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    width, where = 0, 0  # of the first line with columns
    size = 0  # characters of the sentence
    for number, line in numbered_lines(path):
        if not line.strip(" \t"):
            if tokens:
                yield Sentence(tokens, tags, places)
            tokens, tags, places = [], [], []
            continue
        size = size + len(line) if tokens else len(line)
        if size > LONGEST_LINE:
            raise UserError(
                f"{path}:{number}: the sentence does not end within {LONGEST_LINE:,} characters. An empty line is the "
                "end of a sentence."
            )
        place = f"{path}:{number}"
        check_line_ends(line, place)
        columns = re.findall("[^ ]+", line.rstrip()) if blanks and "\t" not in line else line.split("\t")
        if not tokens and (_is_comment(line, columns, width) or line.split()[:1] == ["-DOCSTART-"]):
            others["comments" if line.startswith("#") else "-DOCSTART-"] += 1
            continue
        if not width:
            width, where = len(columns), number
            if width < 2:
                separator = "blanks or a tab" if blanks else "a tab"
                raise UserError(
                    f"{place}: expected a token and a tag separated by {separator}, found 1 column: {line!r:.80}. "
                    "Correct it."
                )
            if max(token_column or 1, tag_column or 1) > width:
                asked = token_column if (token_column or 1) > width else tag_column
                raise UserError(f"{place}: there is no column {asked}, only {width}: {line!r:.200}.")
        if len(columns) != width:
            raise UserError(
                f"{place}: expected {width} columns, a token and its tag among them, as in line {where}, found "
                f"{len(columns)}: {line!r:.200}. Correct the line."
            )
        token, tag = columns[first], columns[last]
        if not token.strip(" ") or not tag.strip(" "):
            raise UserError(
                f"{place}: the {'tag' if token.strip(' ') else 'token'} is empty: {line!r:.200}. Fill it in."
            )
        tokens.append(token)
        tags.append(tag)
        places.append(place)
    if tokens:
        yield Sentence(tokens, tags, places)
    if not width:
        raise UserError(f"{path}:1: the file has no sentence. Give a file with a token and its tag per line.")


def check_line_ends(line: str, place: str) -> None:
    """Check that a line is not several that end in a carriage return alone.

    Raises:
        UserError: it is.
    """
    if "\r" in line:
        raise UserError(
            f"{place}: a carriage return within a line. If the lines of this file end so, write line feeds instead: "
            "tr '\\r' '\\n'."
        )


def _is_comment(line: str, columns: Sequence[str], width: int) -> bool:
    """Whether a line before a sentence is a comment, and not a number sign with its tag."""
    if not line.startswith("#"):
        return False
    if width or "\t" in line:
        return len(columns) != (width or 2)
    return re.fullmatch(r"O|[BIESLUMW][-_]\S+", columns[-1]) is None
