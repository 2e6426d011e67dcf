"""Functions shared by the readers: reading lines, validating sentences, caching datasets on disk.

Readers neither repair nor skip invalid input. They raise a `UserError` that starts with `PATH:LINE:`.
"""

import hashlib
import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError
from transformers.utils import logging

from ...files import find_fault
from ...runtime.schemes import SCHEMES
from ...runtime.tags import OUTSIDE, UserError, convert_tags, find_invalid
from ..formats.documents import Alignment, Document, Sentence, split
from ..tag_format import TagFormat, differing_in_case

logger = logging.get_logger(__name__)

SENTENCES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})
# With the score of each word's mention (NaN if it has none), and whose annotation it is.
ANSWERS = Features({**SENTENCES, "scores": List(Value("float32")), "source": Value("string")})

# Part of the fingerprint of cached datasets: increase it when the same file would be read differently.
READER = 2


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


@contextmanager
def explain_cache_errors() -> Iterator[None]:
    """Convert what `datasets` raises when it opens a damaged file of its cache to a UserError."""
    try:
        yield
    except Exception as error:
        calls = {(Path(call.filename).name, call.name) for call in traceback.extract_tb(error.__traceback__)}
        if find_fault(error) or not calls & {("table.py", "from_file"), ("info.py", "from_directory")}:
            raise
        folder = datasets.config.HF_DATASETS_CACHE
        raise UserError(
            f"A file in the cache of datasets, {folder}, is damaged ({error}). Remove that folder."
        ) from error


class TagReader(NamedTuple):
    """What a corpus needs to read its tags.

    Attributes:
        scheme: the scheme of the corpus, one of `SCHEMES`.
        tags: the tag of each label: `O`, or B-, I-, E- or S- and the entity type.
        target: the scheme to convert to, IOB2 or IOBES.
        known: entity types that may occur; None for any.
    """

    scheme: str
    tags: dict[str, str]
    target: str
    known: Sequence[str] | None

    def read(self, sentence: Sentence) -> dict[str, list[str]]:
        """Validate a sentence's labels and convert them to the target scheme.

        Args:
            sentence: the sentence, with its labels as they stand in the corpus.

        Returns:
            The row: `tokens` and `tags`.

        Raises:
            UserError: an entity type is unknown, or the sequence is invalid.
        """
        tokens, labels, places, *_ = sentence
        tags = [self.tags[label] for label in labels]
        for index, tag in enumerate(tags):
            if self.known is not None and tag != OUTSIDE and tag[2:] not in self.known:
                pairs = [f" {one}={other}" for one, other in differing_in_case([tag[2:]], self.known)]
                raise UserError(
                    f"{places[index]}: the label {labels[index]!r:.80} does not occur in the training data, which "
                    f"has {', '.join(self.known) or 'no mention at all'}: {tokens[index]:.80}\t{labels[index]:.80}. "
                    "Train on data with this label, remove it here, or rename it: --rename_types"
                    f"{''.join(pairs) or ' OLD=NEW'}."
                )
        if self.scheme in ("IOB1", "IO", "flat"):
            tags = _begin_mentions(tags)
        error = find_invalid(tags, "IOBES" if "E" in SCHEMES[self.scheme].values() else "IOB2")
        if error:
            index, message = error
            raise UserError(
                f"{places[index]}: {message:.200}: {tokens[index]:.80}\t{labels[index]:.80}. The tags are read as "
                f"{self.scheme}; correct the tag or the sentence boundary, or name their scheme with --input_scheme."
            )
        return {"tokens": tokens, "tags": convert_tags(tags, self.target)}


def tag_reader(
    sentences: Iterable[tuple[Sequence[str], Sequence[str]]],
    name: str,
    tag_format: TagFormat,
    target: str,
    known: Sequence[str] | None,
) -> TagReader:
    """Find out how the tags of a corpus are written.

    Args:
        sentences: the labels of each sentence, and their positions (`PATH:LINE`).
        name: the name of the corpus, for a warning.
        tag_format: what is known of the tags.
        target: the scheme to convert to, IOB2 or IOBES.
        known: entity types that may occur; None for any.

    Raises:
        UserError: a tag is of no scheme, or of another than the rest.
    """
    pairs: dict[tuple[str, str], str] = {}  # the place where a label first follows another
    for labels, places in sentences:
        for previous, label, place in zip([OUTSIDE, *labels], labels, places, strict=False):
            pairs.setdefault((previous, label), place)
    first: dict[str, str] = {}
    for (_, label), place in pairs.items():
        first.setdefault(label, f"{place}: ")
    scheme, tags = tag_format.read(first)
    read = [(tags.get(previous, OUTSIDE), tags[label]) for previous, label in pairs]
    if scheme == "IOB2" and not tag_format.scheme and _is_iob1(read):
        scheme = "IOB1"
    if scheme in ("IO", "flat") and PartialState().is_main_process:
        logger.warning(
            f"{name}: the tags ({scheme}) do not say where a mention begins: neighbouring words of the same entity "
            "type are read as one mention."
        )
    return TagReader(scheme, tags, target, known)


def load_documents(
    name: str,
    read: Callable[..., Iterable[Document]],
    arguments: Mapping[str, Any],
    alignment: Alignment,
    target: str,
    known: Sequence[str] | None,
    tag_format: TagFormat | None = None,
    features: Features = SENTENCES,
) -> Dataset:
    """Load documents with mentions by characters as sentences with tags, and say what is left out of them.

    Args:
        name: the corpus, for messages.
        read: gives the documents; its keyword `others` counts what it leaves out.
        arguments: its other arguments, by which the result is cached.
        alignment: how the documents become sentences.
        target: the scheme, IOB2 or IOBES, of the tags.
        known: entity types that may occur; None for any.
        tag_format: the names of the entity types.
        features: SENTENCES or ANSWERS.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    others: Counter[str] = Counter()
    alignment.check(read(**arguments, others=others))
    others.update({what: len(faults) for what, faults in alignment.faults().items() if faults})
    documents = list(read(**arguments, others=Counter()))
    wordless = sum(not split(document.text, alignment.rule) for document in documents)
    if wordless == len(documents):
        raise UserError(f"{name}: has no text with words in it.")
    say_what_is_left_out(name, others + Counter({"texts without words": wordless}))
    types = dict.fromkeys(span.entity for document in documents for span in document.spans)
    every = [f"{prefix}-{entity}" for entity in types for prefix in "BIES"]
    tags = {OUTSIDE: OUTSIDE} | {tag: (tag_format or TagFormat()).rename(tag) for tag in every}
    reader = TagReader("IOBES", tags, target, known)
    return cached_dataset(
        _read_documents,
        features,
        read=read,
        arguments=arguments,
        reader=reader,
        alignment=replace(alignment, cut=[], overlapping=[]),
        answers=features == ANSWERS,
    )


def _read_documents(
    read: Callable[..., Iterable[Document]],
    arguments: Mapping[str, Any],
    reader: TagReader,
    alignment: Alignment,
    answers: bool,
) -> Iterator[dict[str, Any]]:
    for sentence in replace(alignment, cut=[], overlapping=[]).sentences(read(**arguments, others=Counter())):
        yield reader.read(sentence) | (answer(sentence) if answers else {})


def answer(sentence: Sentence) -> dict[str, Any]:
    """The columns that ANSWERS adds to SENTENCES.

    Raises:
        UserError: a score is no probability.
    """
    scores = [math.nan if score is None else score for score in sentence.scores or [None] * len(sentence.words)]
    for score, place in zip(scores, sentence.places, strict=True):
        if not (math.isnan(score) or 0 <= score <= 1 + 1e-6):  # a sum of probabilities may be a little above
            raise UserError(f"{place}: the score of a mention is {score}; a probability is from 0 to 1. Scale it.")
    return {"scores": [min(score, 1.0) for score in scores], "source": sentence.source}


def say_what_is_left_out(name: str, others: Mapping[str, int]) -> None:
    """Warn of what of a corpus is left out, or changed, as far as there is something."""
    if others and PartialState().is_main_process:
        counts = ", ".join(f"{kind}: {count:,}" for kind, count in others.items())
        logger.warning(f"{name}: not taken as it stands: {counts}.")


def _begin_mentions(tags: Sequence[str]) -> list[str]:
    """Give each mention of a sequence in IOB1 or IO a B- tag."""
    return [
        f"B-{tag[2:]}" if tag[0] == "I" and previous[2:] != tag[2:] else tag
        for previous, tag in zip([OUTSIDE, *tags], tags, strict=False)
    ]


def _is_iob1(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether mentions begin with I-, and B- only stands between neighbours of one entity type."""
    begins = {tag[0] for previous, tag in pairs if tag != OUTSIDE and previous[2:] != tag[2:]}
    return begins == {"I"}
