"""Functions shared by the readers: reading lines, validating sentences, caching datasets on disk.

Readers neither repair nor skip invalid input. They raise a `UserError` that starts with `PATH:LINE:`.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from ...runtime.tags import PREFIXES, UserError, convert_tags, find_invalid, normalise_tag

SENTENCES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})

# Part of the fingerprint of cached datasets: increase it when the same file would be read differently.
READER = 1

TAG = re.compile(r"O|[BIES]-\S+")


def numbered_lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file (gzip if its name ends in .gz), without line ends and byte order mark.

    Raises:
        UserError: the file is not valid gzip or UTF-8, or a line has a NUL character.
    """
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        number = 0
        while True:
            number += 1
            try:
                raw = file.readline()
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UserError(f"{path}:{number}: not a whole gzip file: {error}. Compress the file again.") from None
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
                raise UserError(f"{path}:{number}: the line contains a NUL character: {line!r}. Remove it.")
            yield number, line


def check_file(path: str) -> None:
    """Raise UserError if there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")


def content_digest(path: str) -> str:
    """Return a digest of a file's content and of the reader's version."""
    with open(path, "rb") as file:
        return f"{READER}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def cached_dataset(generator, features: Features, **kwargs) -> Dataset:
    """`Dataset.from_generator` with caching by generator and arguments; re-raises a generator's UserError."""
    # `from_generator` treats a list as shards and calls the generator once per item.
    kwargs = {name: tuple(value) if isinstance(value, list) else value for name, value in kwargs.items()}
    try:
        return Dataset.from_generator(generator, features=features, gen_kwargs=kwargs)
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def finish_sentence(
    tokens: list[str], tags: list[str], places: Sequence[str], source: str, target: str, known: Sequence[str] | None
) -> dict[str, list[str]]:
    """Validate a sentence's tags and convert them to the target scheme.

    Args:
        tokens: the sentence's tokens.
        tags: their tags, in the source scheme.
        places: the position (`PATH:LINE`) of each token, for error messages.
        source: the scheme of `tags`.
        target: the scheme of the result.
        known: entity types that may occur; None for any.

    Returns:
        The row: `tokens` and `tags`.

    Raises:
        UserError: a tag is unknown, or the tag sequence is invalid.
    """
    normalised = [normalise_tag(tag) for tag in tags]
    for index, tag in enumerate(normalised):
        if tag != "O" and tag[0] not in PREFIXES[source]:
            raise UserError(
                f"{places[index]}: unknown tag {tags[index]!r} in {source} data: {tokens[index]}\t{tags[index]}"
            )
        if known is not None and tag != "O" and tag[2:] not in known:
            raise UserError(
                f"{places[index]}: the label {tags[index]!r} does not occur in the training data, which has "
                f"{', '.join(known) or 'no mention at all'}: {tokens[index]}\t{tags[index]}. "
                "Train on data with this label, or remove it here."
            )
    error = find_invalid(normalised, source)
    if error:
        index, message = error
        raise UserError(
            f"{places[index]}: {message}: {tokens[index]}\t{tags[index]}. The file's tags are read as {source}; "
            "correct the tag or the sentence boundary."
        )
    return {"tokens": tokens, "tags": convert_tags(normalised, target)}
