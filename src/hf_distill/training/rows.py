"""Rows of `encode_dataset` in any of the datasets that a Trainer takes, and whether they are made for a student."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import IterableDataset, Subset

from ..runtime.tags import UserError
from ..runtime.word_features import FEATURES, word_feature_rows

CHECKED_ROWS = 100


def without_subsets(dataset: Any) -> Any:
    """Return the selected rows as a `datasets.Dataset`, if a dataset is a `Subset` of one; else the dataset itself."""
    if not isinstance(dataset, Subset):
        return dataset
    whole = without_subsets(dataset.dataset)
    return whole.select(dataset.indices) if isinstance(whole, Dataset) else dataset


def by_name(datasets: Any) -> Any:
    """Return evaluation sets as Trainer takes them: a list of datasets as a dictionary with the names "0", "1", ..."""
    if isinstance(datasets, list) and datasets and not isinstance(datasets[0], dict):
        datasets = {str(number): dataset for number, dataset in enumerate(datasets)}
    if isinstance(datasets, dict):
        return {name: without_subsets(dataset) for name, dataset in datasets.items()}
    return without_subsets(datasets)


def read_rows(dataset: Any) -> Dataset:
    """Return the rows of a dataset of any class as a `datasets.Dataset`: scores need all words of a sentence."""
    dataset = without_subsets(dataset)
    if isinstance(dataset, Dataset):
        return dataset.with_format(None)
    return Dataset.from_list([dict(row) for row in (_rows(dataset, len(dataset)) if _indexed(dataset) else dataset)])


def _indexed(dataset: Any) -> bool:
    return hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)


def _rows(dataset: Any, count: int) -> list[dict]:
    return [dataset[row] for row in range(min(count, len(dataset)))]


def check_rows(name: str, dataset: Any, config: Any, tags: Sequence[str]) -> None:
    """Check that rows are made for a student: for its labels, and for the features of words that it reads.

    `encode_dataset` keeps its tags in the features of the dataset. In one without them, only the numbers of the first
    rows can be looked at, and in one that is read from its beginning alone not even these.

    Args:
        name: that of the dataset, for messages.
        dataset: rows of `encode_dataset`.
        config: the student's `PretrainedConfig`.
        tags: the student's.

    Raises:
        UserError: they are not.
    """
    if isinstance(dataset, Dataset):
        dataset = dataset.with_format(None)
        absent = {"input_ids", "word_positions", "labels"} - set(dataset.column_names)
        if absent or not len(dataset):
            lacks = f"columns {', '.join(sorted(absent))}" if absent else "rows"
            raise UserError(f"The {name} has no {lacks}: make it by encode_dataset.")
    features = getattr(dataset, "features", None) or {}
    encoded = getattr(getattr(features.get("labels"), "feature", None), "names", None)
    # In another scheme than that of its tags, a student may have names of its own for the same labels.
    names = [config.id2label[label] for label in range(len(tags))]
    if encoded is not None and encoded not in (list(tags), names):
        raise UserError(
            f"The {name} is encoded for other labels than the student's, or in another order: {', '.join(encoded)}; "
            f"the student has {', '.join(tags)}. Make it by encode_dataset with the student's tags."
        )
    rows = _rows(dataset, CHECKED_ROWS) if _indexed(dataset) else []
    largest = max((label for row in rows for label in row.get("labels", ())), default=-1)
    if largest >= len(tags):
        raise UserError(
            f"The {name} has a label {largest}, but those of the student are 0 to {len(tags) - 1}: {', '.join(tags)}. "
            "Make it by encode_dataset with the student's tags."
        )
    number = word_feature_rows(config)
    columns = getattr(dataset, "column_names", None) or (rows[0] if rows else ["word_features"])
    if number and not ("word_features" in columns and all(_reads(row["word_features"], number) for row in rows)):
        raise UserError(
            f"The student also reads how words are written, in tables of {number:,} rows, for which the {name} is not "
            "made: make it by encode_dataset(..., feature_rows=student.config.word_feature_rows)."
        )


def _reads(features: bytes, rows: int) -> bool:
    """Whether features of words are those of tables with so many rows: each feature has a table of its own."""
    numbers = np.frombuffer(features, np.uint16).reshape(-1, FEATURES).astype(int)
    tables = (numbers - 1) // rows
    return bool(((tables == range(FEATURES)) | (numbers == 0)).all())
