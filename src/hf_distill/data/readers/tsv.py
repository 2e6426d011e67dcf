"""Reader for TSV files: a token, a tab and a tag per line, an empty line after each sentence.

A line of blanks and tabs counts as empty: that of WNUT 2017's files has a tab. Before a sentence there may be comments
(lines that begin with # and have no tag) and a line that begins with -DOCSTART-.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from accelerate import PartialState
from datasets import Dataset
from transformers.utils import logging

from ...runtime.tags import UserError
from ..tag_format import TagFormat
from .common import SENTENCES, TagReader, cached_dataset, check_file, content_digest, numbered_lines, tag_reader

logger = logging.get_logger(__name__)


def _sentences(path: str, others: Counter[str] | None = None) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Yield the tokens, tags and positions (`PATH:LINE`) of each sentence. `others` counts lines of other kinds."""
    others = Counter() if others is None else others
    tokens: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    empty = True
    for number, line in numbered_lines(path):
        if not line.strip(" \t"):
            if tokens:
                yield tokens, tags, places
            tokens, tags, places = [], [], []
            continue
        columns = line.split("\t")
        if not tokens and (line.startswith("#") and len(columns) != 2 or line.split()[:1] == ["-DOCSTART-"]):
            others["comments" if line.startswith("#") else "-DOCSTART-"] += 1
            continue
        empty = False
        place = f"{path}:{number}"
        if len(columns) != 2:
            raise UserError(
                f"{place}: expected a token and a tag separated by one tab, found {len(columns)} column"
                f"{'s' if len(columns) > 1 else ''}: {line!r}. Correct the line."
            )
        token, tag = columns
        if not token.strip(" ") or not tag.strip(" "):
            raise UserError(f"{place}: the {'tag' if token.strip(' ') else 'token'} is empty: {line!r}. Fill it in.")
        tokens.append(token)
        tags.append(tag)
        places.append(place)
    if tokens:
        yield tokens, tags, places
    if empty:
        raise UserError(f"{path}:1: the file has no sentence. Give a file with a token and its tag per line.")


def _read_tsv(path: str, digest: str, reader: TagReader) -> Iterator[dict[str, list[str]]]:
    """Yield the rows of a TSV file. `digest` is unused: it makes the cache key depend on the file's content."""
    for tokens, tags, places in _sentences(path):
        yield reader.read(tokens, tags, places)


def load_tsv(
    path: str, tag_scheme: str, known_types: Sequence[str] | None = None, tag_format: TagFormat | None = None
) -> Dataset:
    """Load a TSV corpus (.gz too).

    Args:
        path: the file.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        known_types: entity types that may occur; None for any.
        tag_format: how the file's tags are written; None: their scheme is detected, names stay as they are.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.

    Example:
        >>> load_tsv("train.tsv", "IOBES").column_names
        ['tokens', 'tags']
    """
    check_file(path)
    others: Counter[str] = Counter()
    labels = ((tags, places) for _, tags, places in _sentences(path, others))
    reader = tag_reader(labels, path, tag_format or TagFormat(), tag_scheme, known_types)
    if others and PartialState().is_main_process:
        counts = ", ".join(f"{kind}: {count:,}" for kind, count in others.items())
        logger.warning(f"{path}: lines that belong to no sentence ({counts}) are left out.")
    return cached_dataset(_read_tsv, SENTENCES, path=path, digest=content_digest(path), reader=reader)
