"""Reader for TSV files: a token, a tab and a tag per line, an empty line after each sentence."""

from collections.abc import Iterator, Sequence

from datasets import Dataset

from ...runtime.tags import UserError, detect_scheme
from .common import SENTENCES, TAG, cached_dataset, check_file, content_digest, finish_sentence, numbered_lines


def _read_tsv(path: str, digest: str, target: str, known: Sequence[str] | None) -> Iterator[dict[str, list[str]]]:
    """Yield the sentences of a TSV file. `digest` is unused: it makes the cache key depend on the file's content."""
    source = detect_scheme(line.partition("\t")[2] for _, line in numbered_lines(path))
    tokens: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    empty = True
    for number, line in numbered_lines(path):
        if not line.strip(" "):
            if tokens:
                yield finish_sentence(tokens, tags, places, source, target, known)
            tokens, tags, places = [], [], []
            continue
        empty = False
        columns = line.split("\t")
        place = f"{path}:{number}"
        if len(columns) != 2:
            raise UserError(
                f"{place}: expected a token and a tag separated by one tab, found {len(columns)} column"
                f"{'s' if len(columns) > 1 else ''}: {line!r}. Correct the line."
            )
        token, tag = columns
        if not token.strip(" ") or not tag.strip(" "):
            raise UserError(f"{place}: the {'tag' if token.strip(' ') else 'token'} is empty: {line!r}. Fill it in.")
        if not TAG.fullmatch(tag):
            raise UserError(
                f"{place}: unknown tag {tag!r}: {line!r}. Tags are O, or B-, I- (IOB2, IOBES), E- or S- (IOBES) and an "
                "entity type."
            )
        tokens.append(token)
        tags.append(tag)
        places.append(place)
    if tokens:
        yield finish_sentence(tokens, tags, places, source, target, known)
    if empty:
        raise UserError(f"{path}:1: the file has no sentence. Give a file with a token and its tag per line.")


def load_tsv(path: str, tag_scheme: str, known_types: Sequence[str] | None = None) -> Dataset:
    """Load a TSV corpus (.gz too). Its tag scheme, IOB2 or IOBES, is detected.

    Args:
        path: the file.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        known_types: entity types that may occur; None for any.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.

    Example:
        >>> load_tsv("train.tsv", "IOBES").column_names
        ['tokens', 'tags']
    """
    check_file(path)
    return cached_dataset(
        _read_tsv, SENTENCES, path=path, digest=content_digest(path), target=tag_scheme, known=known_types
    )
