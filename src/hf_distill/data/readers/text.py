"""Reader for text without labels: plain text, JSON lines, Parquet files, and datasets of the Hub or of a folder."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow
import pyarrow.parquet
from accelerate import PartialState
from datasets import Dataset, load_dataset_builder
from transformers.utils import logging

from ...files import check_file, numbered_lines
from ...runtime.tags import UserError
from ...runtime.words import split_words
from .common import SENTENCES, cached_dataset, content_digest

logger = logging.get_logger(__name__)

SAMPLE, SAMPLED = 1000, 10_000  # texts, and characters of each, to find out whether they are split into words
# A text is split already if nearly as many of its words are words by the rule as of the training data's.
TOLERANCE = 0.02

# Names of columns by which a file of CSV is known.
COLUMNS = frozenset(
    "text sentence tokens token word tag tags ner_tags label labels title abstract body content".split()
)

# The place of a text (`PATH:LINE`), and the text: a string, or its words.
Texts = Iterator[tuple[str, str | list[str]]]


def load_unlabeled(
    paths: Sequence[str], rule: str | None = None, rule_finds: float = 1.0, column: str | None = None
) -> Dataset:
    """Load texts without labels: sentences or whole documents. `tags` is None in all rows.

    Args:
        paths: files, each also with .gz: .jsonl, objects with `text` or `tokens` (a list of words) in each line;
            .parquet, with such columns (not with .gz); any other is plain text, one text per line.
        rule: how to split running text into words, one of `words.RULES`. A file that is split so already, with blanks
            between words, is taken as it is, and so is every file if this is None.
        rule_finds: the share of the training data's words that the rule finds in running text.
        column: the field of .jsonl and .parquet; default: `text`, else `tokens`.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.

    Examples:
        >>> load_unlabeled(["pubmed.txt"])[0]["tags"] is None
        True
    """
    rules = []
    for path in paths:
        check_file(path)
        if path.lower().endswith(".parquet.gz"):
            raise UserError(f"{path}: Parquet is compressed in itself: decompress the file.")
        if not path.lower().endswith((".jsonl", ".jsonl.gz", ".parquet")):
            _check_plain_text(path)
        rules.append(choose_splitting(path, _read_file(path, column), rule, rule_finds))
    digests = [content_digest(path) for path in paths]
    return cached_dataset(_read_files, SENTENCES, paths=list(paths), digests=digests, rules=rules, column=column)


def load_unlabeled_dataset(
    name: str, config_name: str | None, column: str | None, limit: int, rule: str, rule_finds: float
) -> Dataset:
    """Load texts from the split `train` of a dataset, as `load_unlabeled` does.

    Args:
        name: Hub id or folder.
        config_name: the dataset's configuration, if it has several.
        column: a column of text or of lists of words; default: `text`, else `tokens`.
        limit: number of rows to read, streaming; 0: all.
        rule: as in `load_unlabeled`.
        rule_finds: as in `load_unlabeled`.

    Raises:
        UserError: there is no such dataset, split or column, or a row (`NAME/train:ROW:`) is invalid.
    """
    try:
        builder = load_dataset_builder(name, config_name)
        rows = builder.as_streaming_dataset(split="train")
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{name}: the dataset cannot be loaded: {error}") from error
    rule_used = choose_splitting(name, _read_rows(islice(rows, SAMPLE), f"{name}/train", column), rule, rule_finds)
    # The builder's hash stands for the files' content.
    return cached_dataset(
        _read_dataset, SENTENCES, name=name, config_name=config_name, column=column, limit=limit, rule=rule_used,
        digest=builder.hash,
    )  # fmt: skip


def _read_files(
    paths: Sequence[str], digests: Sequence[str], rules: Sequence[str | None], column: str | None
) -> Iterator[dict]:
    for path, rule in zip(paths, rules, strict=True):
        yield from _sentences(path, _read_file(path, column), rule)


def _read_dataset(
    name: str, config_name: str | None, column: str | None, limit: int, rule: str | None, digest: str
) -> Iterator[dict]:
    rows = load_dataset_builder(name, config_name).as_streaming_dataset(split="train")
    yield from _sentences(name, _read_rows(islice(rows, limit or None), f"{name}/train", column), rule)


def _sentences(source: str, texts: Texts, rule: str | None) -> Iterator[dict]:
    """Yield the rows of a source, splitting running text by `rule` (None: at blanks)."""
    empty = True
    for place, text in texts:
        if isinstance(text, str):
            words = _words(text, rule)
        else:
            words = text
            for word in words:
                if not isinstance(word, str) or not word.strip() or any(mark in word for mark in "\t\r\n"):
                    raise UserError(
                        f"{place}: a word that is empty, or has a tab or line end: {word!r:.200}. Correct it."
                    )
        try:
            if b"\0" in " ".join(words).encode():
                raise UserError(f"{place}: the text contains a NUL character. Remove it, or convert the text to UTF-8.")
        except UnicodeEncodeError as error:
            raise UserError(f"{place}: the text contains half a character ({error.reason}). Correct it.") from None
        if words:
            empty = False
            yield {"tokens": words, "tags": None}
    if empty:
        raise UserError(f"{source}:1: there is no sentence. Give a file with a sentence per line.")


def _words(text: str, rule: str | None) -> list[str]:
    if rule is None:
        return [word for word in re.split("[ \t\r\n]+", text) if word]
    return [text[start:end] for start, end in split_words(text, rule)]


def choose_splitting(source: str, texts: Texts, rule: str | None, rule_finds: float) -> str | None:
    """Return the rule to split a source's running text by, or None if a sample of it is split already; say which."""
    sample = [text[:SAMPLED] for _, text in islice(texts, SAMPLE) if isinstance(text, str)]
    if rule is None or not sample:
        return None
    words = [word for text in sample for word in _words(text, None)]
    whole = sum(split_words(word, rule) == [(0, len(word))] for word in words) / max(1, len(words))
    split = whole >= rule_finds - TOLERANCE
    if PartialState().is_main_process:
        found = f"{source}: in a sample, {whole:.1%} of what stands between blanks are words as in the training data"
        logger.warning(f"{found}: {'taken as it is' if split else f'running text, split by the rule {rule}'}.")
    return None if split else rule


def _read_file(path: str, column: str | None) -> Texts:
    if path.lower().endswith(".parquet"):
        yield from _read_rows(_parquet_rows(path), path, column)
    elif path.lower().endswith((".jsonl", ".jsonl.gz")):
        yield from _read_json_lines(path, column)
    else:
        yield from ((f"{path}:{number}", line) for number, line in numbered_lines(path) if line.strip())


def _parquet_rows(path: str) -> Iterator[dict]:
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # a text that is not UTF-8, too
        raise UserError(f"{path}: not a whole Parquet file: {error}. Write it again.") from None


def _read_json_lines(path: str, column: str | None) -> Texts:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not valid JSON: {error}: {line[:80]!r:.200}. Correct the line.") from None
        if not isinstance(row, dict):
            raise UserError(
                f"{place}: expected an object with `text` or `tokens`: {line[:80]!r:.200}. Correct the line."
            )
        yield place, _text(row, place, column)


def _read_rows(rows: Iterable[dict], source: str, column: str | None) -> Texts:
    for number, row in enumerate(rows, 1):
        yield f"{source}:{number}", _text(row, f"{source}:{number}", column)


def _text(row: dict, place: str, column: str | None) -> str | list[str]:
    """Return a row's text, or list of words."""
    name = column or ("tokens" if row.get("text") is None and "tokens" in row else "text")
    if name not in row:
        raise UserError(
            f"{place}: has no column {name!r:.200}, only {', '.join(row):.200}. Set it with --unlabeled_column."
        )
    text = row[name]
    if not isinstance(text, str | list):
        raise UserError(f"{place}: {name!r:.200} holds neither text nor a list of words: {str(text)[:80]}. Correct it.")
    return text


def _check_plain_text(path: str) -> None:
    """Refuse JSON, CSV and tagged words in a file of plain text, by its first lines."""
    sample = islice(numbered_lines(path), SAMPLE)
    lines = [(number, line.strip()[:SAMPLED]) for number, line in sample if line.strip()]
    texts = [line for _, line in lines]
    advice = {
        "JSON": "If it is a file of JSON lines, name it .jsonl.",
        "CSV": "Extract the text, one per line, or give a .jsonl or .parquet file.",
        "words with their tags": "Text without labels has one sentence or document per line.",
    }
    kinds = {"JSON": _are_json(texts), "CSV": _are_csv(texts), "words with their tags": _are_tagged(texts)}
    for kind, found in kinds.items():
        if found:
            raise UserError(
                f"{path}:{lines[0][0]}: expected text, found {kind}: {texts[0][:80]!r:.200}. {advice[kind]}"
            )


def _share(lines: Sequence[str], pattern: str) -> float:
    return sum(re.match(pattern, line) is not None for line in lines) / max(1, len(lines))


def _are_json(lines: Sequence[str]) -> bool:
    """Whether nearly all lines are JSON objects or lists of words, or the whole is one that is spread over lines."""
    whole = lines[:1] in (["{"], ["["]) and _share(lines, r'[\[\]{}],?$|"') > 0.9
    return whole or _share(lines, r'\{\s*".*\}$|\[\s*".*\]$') > 0.9


def _are_csv(lines: Sequence[str]) -> bool:
    """Whether the first line has names of columns, such as `id,text`, and nearly all others as many fields."""
    for mark in ",;\t":
        names = [name.strip(' "').lower() for name in (lines[0].split(mark) if lines else [])]
        if (
            len(names) > 1
            and COLUMNS.intersection(names)
            and all(re.fullmatch("[a-z_][a-z0-9_ ]{0,30}", n) for n in names)
        ):
            return sum(line.count(mark) >= len(names) - 1 for line in lines[1:]) > 0.9 * (len(lines) - 1)
    return _share(lines, r'".*"[,;].*"$|[^,;"]+[,;]".*"$') > 0.9


def _are_tagged(lines: Sequence[str]) -> bool:
    """Whether nearly all lines end in a tag, some in O and some in another."""
    tags = [re.search(r"[ \t]([BIESLUMW][-_]\S+|O)$", line) for line in lines]
    found = [match.group(1) for match in tags if match]
    return len(found) > 0.9 * len(lines) and "O" in found and len(set(found)) > 1
