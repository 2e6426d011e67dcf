"""Reader for labelled corpora in files of any format (`data/formats/`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset, Features

from ...files import check_file
from ..formats.documents import Alignment, Document
from ..formats.source import Source
from ..tag_format import TagFormat
from .common import (
    ANSWERS,
    READER,
    SENTENCES,
    TagReader,
    answer,
    cached_dataset,
    load_documents,
    say_what_is_left_out,
    tag_reader,
)


def load_labelled(
    source: Source,
    tag_scheme: str,
    known_types: Sequence[str] | None = None,
    tag_format: TagFormat | None = None,
    alignment: Alignment | None = None,
    features: Features = SENTENCES,
) -> Dataset:
    """Load a labelled corpus.

    Says how many mentions were changed or left out, as the source allows, and how many lines belong to no sentence.

    Args:
        source: the corpus.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        known_types: entity types that may occur; None for any.
        tag_format: how its tags are written; None: their scheme is detected, names stay as they are.
        alignment: how texts with mentions by characters become sentences; None if it has none.
        features: SENTENCES, or ANSWERS for the scores of mentions, too.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    digest = f"{READER}-{source.digest()}"
    if alignment is None:
        others: Counter[str] = Counter()
        labels = ((sentence.tags, sentence.places) for sentence in source.sentences(others=others))
        reader = tag_reader(labels, source.path, tag_format or TagFormat(), tag_scheme, known_types)
        say_what_is_left_out(source.path, others)
        answers = features == ANSWERS
        return cached_dataset(_read_rows, features, source=source, digest=digest, reader=reader, answers=answers)
    arguments = {"source": source, "digest": digest}
    return load_documents(source.path, _documents, arguments, alignment, tag_scheme, known_types, tag_format, features)


def _read_rows(source: Source, digest: str, reader: TagReader, answers: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows. `digest` is unused: it makes the cache key depend on the content."""
    for sentence in source.sentences():
        yield reader.read(sentence) | (answer(sentence) if answers else {})


def _documents(source: Source, digest: str, others: Counter[str] | None = None) -> Iterator[Document]:
    documents = list(source.documents(others))
    # By name, so that a corpus trains the same student in whichever format it comes.
    return iter(sorted(documents, key=lambda each: each.name) if all(each.name for each in documents) else documents)


def load_tsv(
    path: str, tag_scheme: str, known_types: Sequence[str] | None = None, tag_format: TagFormat | None = None
) -> Dataset:
    """Load a TSV corpus (.gz too): a token and its tag per line, an empty line after each sentence.

    Args:
        path: the file.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        known_types: entity types that may occur; None for any.
        tag_format: how the file's tags are written; None: their scheme is detected, names stay as they are.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.

    Examples:
        >>> load_tsv("train.tsv", "IOBES").column_names
        ['tokens', 'tags']
    """
    check_file(path)
    return load_labelled(Source(path, "tsv"), tag_scheme, known_types, tag_format)
