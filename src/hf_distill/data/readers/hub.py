"""Reader for datasets of the Hub, or of a local folder, with a token column and a tag column."""

from collections.abc import Iterator, Mapping

from datasets import ClassLabel, Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from ...runtime.tags import UserError, detect_scheme
from ..statistics import known_types
from .common import SENTENCES, TAG, cached_dataset, finish_sentence


def load_hub_splits(
    name: str,
    config_name: str | None,
    token_column: str,
    tag_column: str,
    tag_scheme: str,
) -> dict[str, Dataset]:
    """Load the splits train, validation and, if it exists, test of a dataset with token and tag columns.

    Args:
        name: Hub id or folder.
        config_name: the dataset's configuration, if it has several.
        token_column: column of token lists.
        tag_column: column of tag lists (text or ClassLabel), in IOB2 or IOBES.
        tag_scheme: the scheme, IOB2 or IOBES, of the returned tags.

    Raises:
        UserError: a split or column is missing, or a row is invalid (`NAME/SPLIT:ROW:`).
    """
    try:
        loaded = load_dataset(name, config_name)
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        raise UserError(f"{name}: the dataset cannot be loaded: {error}") from error
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
                    "Set it with --token_column or --tag_column."
                )
        feature = dataset.features[tag_column]
        names = feature.feature.names if isinstance(getattr(feature, "feature", None), ClassLabel) else None
        if names is None and getattr(getattr(feature, "feature", None), "dtype", None) != "string":
            raise UserError(f"{name}/{split}: the column {tag_column!r} holds {feature}, not text or ClassLabel.")
        known = None if split == "train" else known_types(splits["train"])
        splits[split] = cached_dataset(
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
        # -1 marks a hidden ClassLabel.
        return [names[tag] if tag >= 0 else "" for tag in tags] if names else list(tags)

    source = detect_scheme(names or (tag for row in rows for tag in row[columns[1]] or []))
    for number, row in enumerate(rows, 1):
        tokens, tags = list(row[columns[0]] or []), tags_of(row)
        here = f"{place}:{number}"
        if len(tokens) != len(tags):
            raise UserError(f"{here}: {len(tokens)} tokens but {len(tags)} tags.")
        for token, tag in zip(tokens, tags, strict=True):
            if not token.strip(" ") or any(mark in token for mark in "\0\t\r\n"):
                raise UserError(f"{here}: a token that is empty, or has a tab, line end or NUL: {token!r}.")
            if not tag or not TAG.fullmatch(tag):
                raise UserError(f"{here}: unknown tag: {token!r} {tag!r}.")
        if not tokens:
            raise UserError(f"{here}: the row has no token.")
        yield finish_sentence(tokens, tags, [here] * len(tokens), source, target, known)
