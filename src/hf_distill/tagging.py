"""What a process of `predict` does: bytes of a file in, bytes of the answer out."""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import torch
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from . import models  # noqa: F401 (registers the BiLSTM with the Auto classes)
from .alignment import load_tokenizer, predict_words, window_length
from .labels import UserError, constrained_decode, model_tags
from .loading import finding
from .onnx_model import OnnxModel
from .pipeline import make_mentions, place_words
from .words import PUNCTUATION_APART

Text = tuple[str | list[str], dict, list[list[str]]]


@dataclass(frozen=True)
class Chunk:
    """Whole texts of one file, as they stand there from a line on."""

    path: str
    line: int
    content: bytes


@dataclass(frozen=True)
class Setup:
    """What a process has to know in order to tag.

    Attributes:
        model: Hub id or folder.
        onnx: the ONNX file that answers; None for PyTorch.
        device: where PyTorch computes. On the CPU a process takes one thread.
        trust_remote_code: allow code that comes with the model.
        output: the file to write, whose ending says how.
    """

    model: str
    onnx: str | None
    device: str
    trust_remote_code: bool
    output: str


@dataclass
class _Tagger:
    speaker: PreTrainedModel | OnnxModel
    tokenizer: PreTrainedTokenizerBase
    tags: list[str]
    pattern: str
    max_length: int


def ending(path: str) -> str:
    """The ending of a file's name, without .gz."""
    return Path(path.removesuffix(".gz")).suffix


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, however that was."""

    def watch():
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def tag_chunk(setup: Setup, chunk: Chunk) -> tuple[bytes, int]:
    """What a chunk adds to the output, and how many texts it leaves out (in TSV those without words).

    Raises:
        UserError: `PATH:LINE:`, what is wrong; or the model cannot be loaded.
    """
    texts = list(_READERS[ending(chunk.path)](chunk))
    if not texts:
        return b"", 0
    tagger = _load(setup)
    placed = [place_words(text, tagger.pattern) for text, _, _ in texts]
    logits = predict_words(tagger.speaker, tagger.tokenizer, [each["words"] for each in placed], tagger.max_length)
    decoded = constrained_decode(logits, tagger.tags)
    lines, left_out = [], 0
    for (_, fields, columns), each, scores, labels in zip(texts, placed, logits, decoded, strict=True):
        if ending(setup.output) == ".jsonl":
            mentions = make_mentions(each, scores, labels, tagger.tags)
            lines.append(json.dumps(fields | {"mentions": mentions}, ensure_ascii=False))
        elif each["words"]:
            further = columns or [[]] * len(labels)
            for word, kept, label in zip(each["words"], further, labels, strict=True):
                lines.append("\t".join([word, *kept, tagger.tags[label]]))
            lines.append("")
        else:
            left_out += 1
    content = "".join(f"{line}\n" for line in lines).encode()
    # Compressed files in a row are a compressed file.
    return gzip.compress(content, 6, mtime=0) if setup.output.endswith(".gz") else content, left_out


@cache
def _load(setup: Setup) -> _Tagger:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if setup.device == "cpu":
        torch.set_num_threads(1)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with finding(setup.model):
        tokenizer = load_tokenizer(setup.model, setup.trust_remote_code)
        config = AutoConfig.from_pretrained(setup.model, trust_remote_code=setup.trust_remote_code)
        if setup.onnx:
            speaker = OnnxModel(setup.onnx, config, threads=1)
        else:
            speaker = AutoModelForTokenClassification.from_pretrained(
                setup.model, trust_remote_code=setup.trust_remote_code
            )
            speaker.to(setup.device).eval()
    pattern = getattr(config, "word_pattern", None) or PUNCTUATION_APART
    return _Tagger(speaker, tokenizer, model_tags(config), pattern, window_length(tokenizer, config))


def _lines(chunk: Chunk) -> list[tuple[str, str]]:
    """The lines of a chunk, each with its place (`PATH:LINE`), without line ends and byte order mark."""
    found = []
    for number, line in enumerate(chunk.content.removesuffix(b"\n").split(b"\n"), chunk.line):
        place = f"{chunk.path}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{place}: not UTF-8 ({error.reason} at byte {error.start}): {line[:80]!r}. Convert the file to UTF-8."
            ) from None
        found.append((place, text.removesuffix("\r")))
    return found


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
                json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not valid JSON: {error}: {line[:80]!r}.") from None
        text = fields.get("text", fields.get("tokens")) if isinstance(fields, dict) else None
        if text is None:
            raise UserError(f"{place}: expected an object with `text` or `tokens`: {line[:80]!r}.")
        if "text" not in fields and not _are_words(text):
            raise UserError(
                f"{place}: `tokens` has to be a list of words, none of them empty or with a tab or line end in it: "
                f"{line[:80]!r}."
            )
        if "text" in fields and not isinstance(text, str):
            raise UserError(f"{place}: `text` has to be a string: {line[:80]!r}.")
        yield text, fields, []


def _are_words(tokens) -> bool:
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token.strip(" ") for token in tokens):
        return False
    return not any(mark in token for token in tokens for mark in "\t\r\n")


def _read_tsv(chunk: Chunk) -> Iterator[Text]:
    rows: list[list[str]] = []
    for place, line in [*_lines(chunk), ("", "")]:
        if line.strip(" "):
            rows.append(line.split("\t"))
            if not rows[-1][0].strip(" "):
                raise UserError(f"{place}: the word is empty: {line!r}. Fill it in.")
        elif rows:
            words = [row[0] for row in rows]
            yield words, {"text": " ".join(words)}, [row[1:] for row in rows]
            rows = []


_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl, ".tsv": _read_tsv}
INPUTS: Sequence[str] = tuple(_READERS)
OUTPUTS: Sequence[str] = (".jsonl", ".tsv")
