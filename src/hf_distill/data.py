"""Corpora as datasets with the columns `tokens` and `tags`, checked to the line.

TSV files hold a token and its tag per line, a tab between, an empty line after each sentence. Whatever is wrong stops
the run with `PATH:LINE:`, the line's text and what to do: nothing is repaired or left out in silence.
"""

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

from .labels import PREFIXES, UserError, convert_tags, detect_scheme, find_invalid, normalise_tag

SENTENCES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})

# Names of the evaluation corpora, as they stand before each metric.
EVALUATED = ("eval", "test")

# Part of the names of cached Arrow files: to be raised when the same file would be read differently.
READER = 1

_TAG = re.compile(r"O|[BIES]-\S+")


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file (gzip if its name ends in .gz), without line ends and byte order mark."""
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        number = 0
        while True:
            number += 1
            try:
                raw = file.readline()
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UserError(f"{path}:{number}: not a whole gzip file: {error}. Compress it again.") from None
            if not raw:
                return
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start}): {raw[:80]!r}. "
                    "Convert the file to UTF-8."
                ) from None
            line = line.rstrip("\n").removesuffix("\r")
            if "\0" in line:
                raise UserError(f"{path}:{number}: the line holds a NUL character: {line!r}. Remove it.")
            yield number, line


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return f"{READER}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _from_generator(generator, features: Features, **kwargs) -> Dataset:
    """`Dataset.from_generator`, whose Arrow file is kept and reused, with our errors coming through as they are."""
    # A list would be taken for shards, and the generator called once per item.
    kwargs = {name: tuple(value) if isinstance(value, list) else value for name, value in kwargs.items()}
    try:
        return Dataset.from_generator(generator, features=features, gen_kwargs=kwargs)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def _finish_sentence(
    tokens: list[str], tags: list[str], places: Sequence[str], source: str, target: str, known: Sequence[str] | None
) -> dict[str, list[str]]:
    """Check a sentence's tags, convert them to the target scheme. `places` names each token's line for messages."""
    normal = [normalise_tag(tag) for tag in tags]
    for index, tag in enumerate(normal):
        if tag != "O" and tag[0] not in PREFIXES[source]:
            raise UserError(
                f"{places[index]}: unknown tag {tags[index]!r} in {source} text: {tokens[index]}\t{tags[index]}"
            )
        if known is not None and tag != "O" and tag[2:] not in known:
            raise UserError(
                f"{places[index]}: the label {tags[index]!r} does not occur in the training data, which has "
                f"{', '.join(known) or 'no mention at all'}: {tokens[index]}\t{tags[index]}. "
                "Train on data that has it, or take it out here."
            )
    fault = find_invalid(normal, source)
    if fault:
        index, message = fault
        raise UserError(
            f"{places[index]}: {message}: {tokens[index]}\t{tags[index]}. The file's tags are read as {source}; "
            "correct the tag or the sentence boundary."
        )
    return {"tokens": tokens, "tags": convert_tags(normal, target)}


def _read_tsv(path: str, digest: str, target: str, known: Sequence[str] | None) -> Iterator[dict[str, list[str]]]:
    """The sentences of a TSV file. `digest` is not read: it makes the cached Arrow file follow the file's content."""
    source = detect_scheme(line.partition("\t")[2] for _, line in _lines(path))
    tokens: list[str] = []
    tags: list[str] = []
    places: list[str] = []
    empty = True
    for number, line in _lines(path):
        if not line.strip(" "):
            if tokens:
                yield _finish_sentence(tokens, tags, places, source, target, known)
            tokens, tags, places = [], [], []
            continue
        empty = False
        columns = line.split("\t")
        place = f"{path}:{number}"
        if len(columns) != 2:
            raise UserError(
                f"{place}: expected a token and a tag with one tab between, found {len(columns)} column"
                f"{'s' if len(columns) > 1 else ''}: {line!r}. Correct the line."
            )
        token, tag = columns
        if not token.strip(" ") or not tag.strip(" "):
            raise UserError(f"{place}: the {'tag' if token.strip(' ') else 'token'} is empty: {line!r}. Fill it in.")
        if not _TAG.fullmatch(tag):
            raise UserError(
                f"{place}: unknown tag {tag!r}: {line!r}. Tags are O, or B-, I- (IOB2, IOBES), E- or S- (IOBES) and an "
                "entity type."
            )
        tokens.append(token)
        tags.append(tag)
        places.append(place)
    if tokens:
        yield _finish_sentence(tokens, tags, places, source, target, known)
    if empty:
        raise UserError(f"{path}:1: the file has no sentence. Give a file with a token and its tag per line.")


def load_tsv(path: str, tag_scheme: str, known_types: Sequence[str] | None = None) -> Dataset:
    """Load a TSV corpus (.gz too) in IOB2 or IOBES, which is detected.

    Args:
        path: the file.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        known_types: entity types that may occur; None for any.

    Raises:
        UserError: `PATH:LINE:`, what is wrong and what to do.

    Example:
        >>> load_tsv("train.tsv", "IOBES").column_names
        ['tokens', 'tags']
    """
    _check_file(path)
    return _from_generator(_read_tsv, SENTENCES, path=path, digest=_digest(path), target=tag_scheme, known=known_types)


def _read_text(paths: Sequence[str], digests: Sequence[str]) -> Iterator[dict[str, list[str] | None]]:
    for path in paths:
        empty = True
        for _, line in _lines(path):
            tokens = [token for token in re.split("[ \t]+", line) if token]
            if tokens:
                empty = False
                yield {"tokens": tokens, "tags": None}
        if empty:
            raise UserError(f"{path}:1: the file has no sentence. Give a file with a sentence per line.")


def load_unlabeled(paths: Sequence[str]) -> Dataset:
    """Load plain text, a sentence a line, words split at blanks; `tags` is None in every row. Raises as `load_tsv`.

    Example:
        >>> load_unlabeled(["pubmed.txt"])[0]["tags"] is None
        True
    """
    for path in paths:
        _check_file(path)
    return _from_generator(_read_text, SENTENCES, paths=list(paths), digests=[_digest(path) for path in paths])


def load_hub_splits(
    name: str,
    config_name: str | None,
    token_column: str,
    tag_column: str,
    tag_scheme: str,
) -> dict[str, Dataset]:
    """Load the splits train, validation and test (where present) of a Hub dataset with token and tag columns.

    Raises:
        UserError: a split or column is missing, or a row is faulty (`NAME/SPLIT:ROW:`).
    """
    try:
        loaded = load_dataset(name, config_name)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        raise UserError(f"{name}: no dataset that can be loaded: {error}") from error
    splits: dict[str, Dataset] = {}
    for split, required in (("train", True), ("validation", True), ("test", False)):
        if split not in loaded:
            if required:
                raise UserError(f"{name}: has no split {split!r}, only {', '.join(loaded)}.")
            continue
        dataset = loaded[split]
        for column in (token_column, tag_column):
            if column not in dataset.column_names:
                raise UserError(
                    f"{name}/{split}: has no column {column!r}, only {', '.join(dataset.column_names)}. "
                    "Name it with --token_column or --tag_column."
                )
        feature = dataset.features[tag_column]
        names = feature.feature.names if isinstance(getattr(feature, "feature", None), ClassLabel) else None
        if names is None and getattr(getattr(feature, "feature", None), "dtype", None) != "string":
            raise UserError(f"{name}/{split}: the column {tag_column!r} holds {feature}, neither text nor ClassLabel.")
        known = None if split == "train" else known_types(splits["train"])
        splits[split] = _from_generator(
            _read_rows,
            SENTENCES,
            rows=dataset.select_columns([token_column, tag_column]),
            columns=(token_column, tag_column),
            names=names,
            place=f"{name}/{split}",
            target=tag_scheme,
            known=known,
        )
    return splits


def _read_rows(
    rows: Dataset, columns: tuple[str, str], names: list[str] | None, place: str, target: str, known: list[str] | None
) -> Iterator[dict[str, list[str]]]:
    def tags_of(row: Mapping) -> list[str]:
        tags = row[columns[1]] or []
        # ClassLabel writes -1 for a hidden label.
        return [names[tag] if tag >= 0 else "" for tag in tags] if names else list(tags)

    source = detect_scheme(names or (tag for row in rows for tag in row[columns[1]] or []))
    for number, row in enumerate(rows, 1):
        tokens, tags = list(row[columns[0]] or []), tags_of(row)
        here = f"{place}:{number}"
        if len(tokens) != len(tags):
            raise UserError(f"{here}: {len(tokens)} tokens but {len(tags)} tags.")
        for token, tag in zip(tokens, tags, strict=True):
            if not token.strip(" ") or any(mark in token for mark in "\0\t\r\n"):
                raise UserError(f"{here}: a token that is empty, or has a tab, line end or NUL in it: {token!r}.")
            if not tag or not _TAG.fullmatch(tag):
                raise UserError(f"{here}: unknown tag: {token!r} {tag!r}.")
        if not tokens:
            raise UserError(f"{here}: the row has no token.")
        yield _finish_sentence(tokens, tags, [here] * len(tokens), source, target, known)


def known_types(dataset: Dataset) -> list[str]:
    """The distinct entity types of a dataset, sorted."""
    return sorted({tag[2:] for tags in dataset["tags"] if tags for tag in tags if tag != "O"})


def hash_sentences(tokens: pa.ListArray | pa.ChunkedArray) -> np.ndarray:
    """16 bytes that stand for each sentence: equal for equal sentences, and for no others in practice."""
    joined = pc.binary_join(tokens, "\t").cast(pa.binary())
    digests = [hashlib.blake2b(text, digest_size=16).digest() for text in joined.to_pylist()]
    return np.frombuffer(b"".join(digests), dtype="S16")


def sentence_keys(dataset: Dataset) -> np.ndarray:
    """`hash_sentences` of every row, in order."""
    batches = dataset.select_columns(["tokens"]).with_format("arrow").iter(10_000)
    return np.concatenate([np.array([], dtype="S16"), *(hash_sentences(batch["tokens"]) for batch in batches)])


def find_leaked(dataset: Dataset, evaluation: Iterable[Dataset]) -> list[int]:
    """Rows of `dataset` whose sentence also stands in one of the evaluation datasets."""
    held_out = np.concatenate([np.array([], dtype="S16"), *(sentence_keys(held) for held in evaluation)])
    return np.flatnonzero(np.isin(sentence_keys(dataset), held_out)).tolist()


def mention_counts(dataset: Dataset) -> dict[str, int]:
    """Number of mentions by entity type, sorted; empty where nothing is labelled."""
    counts: Counter[str] = Counter()
    for batch in dataset.with_format("arrow").iter(10_000):
        for tag in pc.value_counts(batch["tags"].combine_chunks().flatten()).to_pylist():
            if tag["values"][:1] in "BS":  # each mention has one of them
                counts[tag["values"][2:]] += tag["counts"]
    return dict(sorted(counts.items()))


def word_count(dataset: Dataset) -> int:
    """Number of words."""
    batches = dataset.with_format("arrow").iter(10_000)
    return sum(pc.sum(pc.list_value_length(batch["tokens"])).as_py() for batch in batches)


def describe(name: str, dataset: Dataset) -> str:
    """One line: sentences, words, mentions by entity type."""
    line = f"{name}: {len(dataset):,} sentences, {word_count(dataset):,} words"
    if any(tags is not None for tags in dataset["tags"][:1]):
        counts = mention_counts(dataset)
        line += ", mentions: " + (", ".join(f"{entity} {count:,}" for entity, count in counts.items()) or "none")
    return line
