"""Reader for datasets of the Hub, or of a local folder, with a token column and a tag column."""

from collections import Counter
from collections.abc import Iterator

from datasets import ClassLabel, Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from ...runtime.tags import UserError
from ..formats.documents import Alignment, Document, Sentence, choose_word_rule
from ..formats.json_lines import SPAN_KEYS, parse_item
from ..formats.source import NOT_ACCEPTED
from ..statistics import known_types
from ..tag_format import TagFormat
from .common import SENTENCES, TagReader, cached_dataset, load_documents, tag_reader

SPLITS = {"train": ["train"], "validation": ["validation", "dev", "devel", "val", "valid"], "test": ["test"]}


def load_hub_splits(
    name: str,
    config_name: str | None,
    token_column: str | None,
    tag_column: str | None,
    tag_scheme: str,
    tag_format: TagFormat | None = None,
    misaligned: str | None = None,
    nested: str | None = None,
) -> tuple[dict[str, Dataset], str | None]:
    """Load the splits train, validation and test, as far as they exist, of a dataset with columns of words and tags, or
    of text and mentions (as `json_lines.parse_item` reads them).

    The split validation may also be called dev, devel, val or valid.

    Args:
        name: Hub id or folder.
        config_name: the dataset's configuration, if it has several.
        token_column: column of word lists; None: tokens.
        tag_column: column of tag lists (text or ClassLabel); None: ner_tags.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.
        tag_format: how the column's tags are written; None: their scheme is detected, names stay as they are.
        misaligned: as of `Alignment`.
        nested: as of `Alignment`.

    Returns:
        The splits, and the rule that their texts were split by, if they had to be.

    Raises:
        UserError: a split or column is missing, or a row is invalid (`NAME/SPLIT:ROW:`).
    """
    try:
        loaded = load_dataset(name, config_name)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        raise UserError(f"{name}: the dataset cannot be loaded: {error}") from error
    splits: dict[str, Dataset] = {}
    rule = None
    if "train" not in loaded:
        raise UserError(f"{name}: has no split 'train', only {', '.join(loaded)}.")
    for split, names_of_it in SPLITS.items():
        found = [each for each in names_of_it if each in loaded]
        if not found:
            continue
        dataset, place = loaded[found[0]], f"{name}/{split}"
        known = None if split == "train" else known_types(splits["train"])
        columns = set(dataset.column_names)
        words = {token_column or "tokens", tag_column or "ner_tags"}
        if not words <= columns and "text" in columns and columns.intersection(SPAN_KEYS):
            rule = rule or choose_word_rule(_documents(dataset, place))
            alignment = Alignment(rule, misaligned, nested)
            arguments = {"rows": dataset, "place": place}
            splits[split] = load_documents(place, _documents, arguments, alignment, tag_scheme, known, tag_format)
            continue
        token_column, tag_column = token_column or "tokens", tag_column or "ner_tags"
        for column in (token_column, tag_column):
            if column not in dataset.column_names:
                raise UserError(
                    f"{name}/{split}: has no column {column!r:.200}, only {', '.join(dataset.column_names)}. "
                    "Set it with --token_column or --tag_column."
                )
        feature = dataset.features[tag_column]
        names = feature.feature.names if isinstance(getattr(feature, "feature", None), ClassLabel) else None
        dtype = str(getattr(getattr(feature, "feature", None), "dtype", None))
        if names is None and not dtype.startswith(("string", "large_string", "int", "uint")):
            raise UserError(
                f"{name}/{split}: the column {tag_column!r:.200} holds {str(feature):.200}, not text or ClassLabel."
            )
        names_of = {token_column: "tokens", tag_column: "tags"}
        rows = dataset.select_columns(list(names_of)).rename_columns(names_of)
        labels = ((sentence.tags, sentence.places) for sentence in _sentences(rows, names, place))
        reader = tag_reader(labels, place, tag_format or TagFormat(), tag_scheme, known)
        splits[split] = cached_dataset(_read_rows, SENTENCES, rows=rows, names=names, place=place, reader=reader)
    return splits, rule


def _documents(rows: Dataset, place: str, others: Counter[str] | None = None) -> Iterator[Document]:
    """Yield the rows of texts with mentions."""
    for number, row in enumerate(rows, 1):
        document = parse_item(row, f"{place}:{number}")
        if document is None:
            others = Counter() if others is None else others
            others[NOT_ACCEPTED] += 1
            continue
        if not isinstance(document, Document):
            raise UserError(f"{place}:{number}: expected a text and its mentions.")
        yield document


def _sentences(rows: Dataset, names: list[str] | None, place: str) -> Iterator[Sentence]:
    """Yield the tokens, tags and positions (`NAME/SPLIT:ROW`) of each row."""
    for number, row in enumerate(rows, 1):
        tokens, tags = list(row["tokens"] or []), list(row["tags"] or [])
        if names:
            tags = [names[tag] if tag >= 0 else "" for tag in tags]  # -1 marks a hidden ClassLabel
        tags = ["" if tag is None else str(tag) for tag in tags]
        here = f"{place}:{number}"
        if len(tokens) != len(tags):
            raise UserError(f"{here}: {len(tokens)} tokens but {len(tags)} tags.")
        for token, tag in zip(tokens, tags, strict=True):
            if not token.strip(" ") or any(mark in token for mark in "\0\t\r\n"):
                raise UserError(f"{here}: a token that is empty, or has a tab, line end or NUL: {token!r:.200}.")
            if not tag:
                raise UserError(f"{here}: the token {token!r:.200} has no tag.")
        if not tokens:
            raise UserError(f"{here}: the row has no token.")
        yield Sentence(tokens, tags, [here] * len(tokens))


def _read_rows(rows: Dataset, names: list[str] | None, place: str, reader: TagReader) -> Iterator[dict[str, list[str]]]:
    for sentence in _sentences(rows, names, place):
        yield reader.read(sentence)
