"""Reader for plain text, one sentence per line."""

import re
from collections.abc import Iterator, Sequence

from datasets import Dataset

from ...runtime.tags import UserError
from .common import SENTENCES, cached_dataset, check_file, content_digest, numbered_lines


def _read_text(paths: Sequence[str], digests: Sequence[str]) -> Iterator[dict[str, list[str] | None]]:
    for path in paths:
        empty = True
        for _, line in numbered_lines(path):
            tokens = [token for token in re.split("[ \t]+", line) if token]
            if tokens:
                empty = False
                yield {"tokens": tokens, "tags": None}
        if empty:
            raise UserError(f"{path}:1: the file has no sentence. Give a file with a sentence per line.")


def load_unlabeled(paths: Sequence[str]) -> Dataset:
    """Load plain text (.gz too), one sentence per line, words separated by spaces or tabs. `tags` is None in all rows.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.

    Example:
        >>> load_unlabeled(["pubmed.txt"])[0]["tags"] is None
        True
    """
    for path in paths:
        check_file(path)
    return cached_dataset(_read_text, SENTENCES, paths=list(paths), digests=[content_digest(path) for path in paths])
