"""The work of one process of `predict`: parse a chunk of a file, tag it, and format the output."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from multiprocessing import parent_process, resource_tracker
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..data.formats.columns import check_line_ends
from ..data.formats.writing import to_json
from ..files import decode_line
from ..runtime.confidence import expected_errors
from ..runtime.mentions import find_mentions
from ..runtime.tagger import Tagger
from ..runtime.tags import UserError, convert_tags, detect_scheme

if TYPE_CHECKING:
    from .torch_tagger import TorchTagger

# A text (a string or its words), the fields of its JSON line, and for each word the further columns of its TSV line.
Text = tuple[str | list[str], dict, list[list[str]]]


KEPT_LINES = 1000  # at least so many are ranked at a time
TRIED_TEXTS = 256  # at the beginning of the input, to find out the scheme of a head


@dataclass(frozen=True)
class Chunk:
    """Whole texts of one file, unparsed: its bytes from the line `line` on."""

    path: str
    line: int
    content: bytes


@dataclass(frozen=True)
class Setup:
    """The configuration of a worker process.

    Attributes:
        model: Hub id or folder.
        tags: the tag of each class of its head.
        output: the output file; its ending determines the format.
        thresholds: by entity type the score below which its mentions are left out.
        most_uncertain: how many texts are kept, as of `PredictionArguments`; 0: all.
        precision: that of the `Tagger`, which needs a student's folder; None: transformers loads the model, and the
            following count, as in `TorchTagger.load`.
    """

    model: str
    tags: tuple[str, ...]
    output: str
    thresholds: tuple[tuple[str, float], ...] = ()
    most_uncertain: int = 0
    precision: str | None = None
    begins_inside: bool | None = None
    onnx: str | None = None
    device: str = "cpu"
    trust_remote_code: bool = False
    add_prefix_space: bool = True


def ending(path: str) -> str:
    """Return the ending of a file's name, ignoring .gz."""
    return Path(path.removesuffix(".gz")).suffix


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that start meanwhile do not get SIGINT, which a terminal sends to all: the main process ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let SIGINT through again when it starts itself
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_with_parent() -> None:
    """Exit this process as soon as its parent process has ended for any reason."""

    def watch():
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class Tagged(NamedTuple):
    """The output of a chunk, the number of words read, and that of skipped texts (without words, if it is TSV)."""

    content: bytes
    words: int
    skipped: int


def tag_chunk(setup: Setup, chunk: Chunk) -> Tagged:
    """Tag a chunk.

    Raises:
        UserError: the chunk is invalid (`PATH:LINE:`), or the model cannot be loaded.
    """
    texts = list(read_chunk(chunk))
    if not texts:
        return Tagged(b"", 0, 0)
    tagger = _load_tagger(setup)
    scheme = "IOB2" if ending(setup.output) == ".conll" else detect_scheme(setup.tags)
    located, logits = tagger.predict([text for text, _, _ in texts])
    if any(np.isnan(scores).any() for scores in logits):
        raise UserError(f"{setup.model}: its scores are not all numbers; its weights may be damaged. Save it anew.")
    found: Iterable = find_mentions(located, logits, tagger.tags, tagger.calibration, dict(setup.thresholds))
    if setup.most_uncertain:
        values = expected_errors(logits, tagger.tags, tagger.calibration)
        for (_, fields, _), value in zip(texts, values, strict=True):
            fields["uncertainty"] = value
        found = list(found)
        chosen = _most_uncertain([fields for _, fields, _ in texts], setup.most_uncertain)
        texts, found = [texts[number] for number in chosen], [found[number] for number in chosen]
    json_lines, lines, skipped = ending(setup.output) == ".jsonl", [], 0
    for (_, fields, columns), (text, labels, mentions) in zip(texts, found, strict=True):
        if json_lines:
            lines.append(to_json(fields | {"mentions": mentions}))
        elif text["words"]:
            rows = columns or [[]] * len(labels)
            written = convert_tags([tagger.tags[label] for label in labels], scheme)
            for word, row, tag in zip(text["words"], rows, written, strict=True):
                lines.append("\t".join([word, *row, tag]))
            lines.append("")
        else:
            skipped += 1
    return Tagged(_to_bytes(lines, setup.output), sum(len(text["words"]) for text in located), skipped)


def read_chunk(chunk: Chunk) -> Iterator[Text]:
    """Yield the texts of a chunk.

    Raises:
        UserError: it is invalid (`PATH:LINE:`).
    """
    return _READERS[ending(chunk.path)](chunk)


def keep_most_uncertain(path: Path, output: str, number: int) -> None:
    """Keep of the lines that `tag_chunk` wrote for `output` the most uncertain ones of all chunks, sorted."""
    lines: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") if output.endswith(".gz") else open(path, encoding="utf-8") as file:
        while more := list(islice(file, max(number, KEPT_LINES))):
            lines += [line.removesuffix("\n") for line in more]
            lines = [lines[index] for index in _most_uncertain([json.loads(line) for line in lines], number)]
    path.write_bytes(_to_bytes(lines, output))


def _most_uncertain(texts: Sequence[Mapping], number: int) -> list[int]:
    """Return the indices of the most uncertain texts, the most uncertain first; identical texts count once."""
    first: dict[str, int] = {}
    for index, fields in enumerate(texts):
        first.setdefault(to_json(fields.get("text", fields.get("tokens"))), index)
    return sorted(first.values(), key=lambda index: -texts[index]["uncertainty"])[:number]


def _to_bytes(lines: Sequence[str], output: str) -> bytes:
    content = "".join(f"{line}\n" for line in lines).encode()
    # Concatenated gzip files are a valid gzip file.
    return gzip.compress(content, 6, mtime=0) if output.endswith(".gz") else content


def begins_inside(setup: Setup, chunk: Chunk) -> bool:
    """Whether the model begins the mentions of a chunk with I-."""
    tagger = _load_tagger(setup)
    assert not isinstance(tagger, Tagger)  # a student says so itself
    return tagger.begins_inside([text for text, _, _ in read_chunk(chunk)][:TRIED_TEXTS])


@cache
def _load_tagger(setup: Setup) -> Tagger | TorchTagger:
    """Load the model, once per process."""
    if setup.device == "cpu":
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if setup.precision:
        return Tagger(setup.model, setup.precision, threads=1)
    from .torch_tagger import TorchTagger  # transformers takes seconds to import

    return TorchTagger.load(
        setup.model,
        setup.tags,
        setup.begins_inside,
        setup.onnx,
        setup.device,
        setup.trust_remote_code,
        setup.add_prefix_space,
    )


def _lines(chunk: Chunk) -> list[tuple[str, str]]:
    """Return (`PATH:LINE`, line) for the lines of a chunk, without line ends and byte order mark."""
    lines = []
    for number, line in enumerate(chunk.content.removesuffix(b"\n").split(b"\n"), chunk.line):
        place = f"{chunk.path}:{number}"
        lines.append((place, decode_line(line, place, number == 1)))
    return lines


def _read_txt(chunk: Chunk) -> Iterator[Text]:
    for _, line in _lines(chunk):
        yield line, {"text": line}, []


def _read_jsonl(chunk: Chunk) -> Iterator[Text]:
    for place, line in _lines(chunk):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if "\\u" in line:
                json.dumps(fields, ensure_ascii=False).encode()  # fails for an unpaired surrogate
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not valid JSON: {error}: {line[:80]!r:.200}.") from None
        text = fields.get("text", fields.get("tokens")) if isinstance(fields, dict) else None
        if text is None:
            raise UserError(f"{place}: expected an object with `text` or `tokens`: {line[:80]!r:.200}.")
        if "text" not in fields and not _are_words(text):
            raise UserError(
                f"{place}: `tokens` has to be a list of words, none of them empty or with a tab or line end: "
                f"{line[:80]!r:.200}."
            )
        if "text" in fields and not isinstance(text, str):
            raise UserError(f"{place}: `text` has to be a string: {line[:80]!r:.200}.")
        yield text, fields, []


def _are_words(tokens) -> bool:
    """Whether `tokens` is a list of words that a TSV file can represent."""
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token.strip(" ") for token in tokens):
        return False
    return not any(mark in token for token in tokens for mark in "\t\r\n")


def _read_tsv(chunk: Chunk) -> Iterator[Text]:
    rows: list[list[str]] = []
    for place, line in [*_lines(chunk), ("", "")]:
        if line.strip(" \t"):
            check_line_ends(line, place)
            rows.append(line.split("\t"))
            if not rows[-1][0].strip(" "):
                raise UserError(f"{place}: the word is empty: {line!r:.200}. Fill it in.")
            if not line.startswith("#") and re.search(r"\S +([BIESLUMW]-\S+|O) *$", rows[-1][0]):
                raise UserError(
                    f"{place}: a word and a tag separated by blanks: {line!r:.200}. Separate them by a tab."
                )
        else:
            while rows and _is_no_word(rows):
                del rows[0]
            if not rows:
                continue
            words = [row[0] for row in rows]
            yield words, {"text": " ".join(words)}, [row[1:] for row in rows]
            rows = []


def _is_no_word(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line of a sentence is a comment or -DOCSTART-, as in corpora."""
    first = rows[0][0]
    comment = first.startswith("#") and (len(rows[0]) != len(rows[-1]) or " " in first.strip(" "))
    return comment or first.split(" ")[0] == "-DOCSTART-"


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".tsv": _read_tsv}
INPUTS: Sequence[str] = tuple(_READERS)
OUTPUTS: Sequence[str] = (".jsonl", ".tsv")
