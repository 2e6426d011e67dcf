"""A labelled corpus in a file or folder of any format."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...arguments import FormatArguments
from ...files import check_file, numbered_lines
from ...runtime.tags import UserError
from .brat import read_brat
from .columns import read_columns
from .documents import Alignment, Document, Sentence
from .json_lines import read_json
from .libraries import read_bioc, read_docbin
from .pubtator import read_pubtator

ENDINGS = {
    ".tsv": "tsv",
    ".conll": "conll",
    ".iob": "conll",
    ".bio": "conll",
    ".jsonl": "jsonl",
    ".pubtator": "pubtator",
    ".xml": "bioc",
    ".spacy": "spacy",
}
NOT_ACCEPTED = "texts without an accepted annotation"


@dataclass(frozen=True)
class Source:
    """A labelled corpus.

    Attributes:
        path: its file, or for brat its folder.
        input_format: one of `arguments.INPUT_FORMATS`.
        token_column: name or number of the words' column; None: the usual one.
        tag_column: name or number of the tags' column; None: the usual one.
        misaligned: as of `Alignment`.
        nested: as of `Alignment`.
    """

    path: str
    input_format: str
    token_column: str | None = None
    tag_column: str | None = None
    misaligned: str | None = None
    nested: str | None = None

    @classmethod
    def find(cls, path: str, args: FormatArguments) -> "Source":
        """Find out the format of a file or folder, where the arguments do not name it.

        Raises:
            UserError: there is no such file.
        """
        if not Path(path).is_dir():
            check_file(path)
        found = args.input_format or _find_format(path)
        if Path(path).is_dir() != (found == "brat"):
            raise UserError(f"{path}: {found} is read from {'a folder' if found == 'brat' else 'a file'}.")
        return cls(path, found, args.token_column, args.tag_column, args.misaligned, args.nested)

    def digest(self) -> str:
        """Return a digest of the content."""
        paths = sorted(Path(self.path).rglob("*")) if self.input_format == "brat" else [Path(self.path)]
        digests = [hashlib.sha256(str(self).encode()).hexdigest()]
        for path in paths:
            if path.is_file():
                with open(path, "rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def has_documents(self) -> bool:
        """Whether it has texts with mentions by characters, and not words with tags."""
        if self.input_format in ("tsv", "conll"):
            return False
        return self.input_format != "jsonl" or isinstance(next(self._json(Counter()), None), Document)

    def documents(self, others: Counter[str] | None = None) -> Iterator[Document]:
        """Yield the documents; `others` counts what is left out.

        Raises:
            UserError: `PATH:LINE:`, the error and how to correct it.
        """
        others = Counter() if others is None else others
        readers = {"pubtator": read_pubtator, "brat": read_brat, "bioc": read_bioc, "spacy": read_docbin}
        found = self._json(others) if self.input_format == "jsonl" else readers[self.input_format](self.path)
        for document in found:
            if not isinstance(document, Document):
                raise UserError(
                    f"{document.places[0]}: words with tags, but before it a text with mentions: split them."
                )
            others.update(document.left_out)
            twice = len(document.spans) - len({(span.entity, span.start, span.end) for span in document.spans})
            others.update({"mentions that stand there twice": twice} if twice else {})
            yield document

    def sentences(self, alignment: Alignment | None = None, others: Counter[str] | None = None) -> Iterator[Sentence]:
        """Yield the sentences with a tag per word, those of documents by an alignment (then in IOBES).

        Raises:
            UserError: `PATH:LINE:`, the error and how to correct it.
        """
        others = Counter() if others is None else others
        if alignment is not None:
            yield from alignment.sentences(self.documents(others))
        elif self.input_format == "jsonl":
            for sentence in self._json(others):
                if isinstance(sentence, Document):
                    raise UserError(f"{sentence.place}: a text, but before it words with tags: split them.")
                yield sentence
        else:
            token, tag = _number(self.token_column, "token_column"), _number(self.tag_column, "tag_column")
            yield from read_columns(self.path, self.input_format == "conll", token, tag, others)

    def _json(self, others: Counter[str]) -> Iterator[Document | Sentence]:
        empty = True
        for item in read_json(self.path, self.token_column, self.tag_column):
            if item is None:
                others[NOT_ACCEPTED] += 1
            else:
                empty = False
                yield item
        if empty:
            raise UserError(f"{self.path}: there is no annotated text in it.")


def _number(column: str | None, name: str) -> int | None:
    if column is None:
        return None
    if not column.isdecimal() or not int(column):
        raise UserError(f"--{name} {column}: columns of a file are numbered from 1.")
    return int(column)


def _find_format(path: str) -> str:
    """The format of a file by its ending, else by its first line with something in it."""
    if Path(path).is_dir():
        return "brat"
    ending = Path(path.removesuffix(".gz")).suffix.lower()
    if ending in ENDINGS:
        return ENDINGS[ending]
    # A list in one line may be a whole corpus.
    lines = numbered_lines(path, whole=ending == ".json")
    line = next((line for _, line in lines if line.strip()), "").lstrip()
    if ending == ".json":  # BioC is one object, over several lines or with its source
        return "bioc" if line.startswith("{") and (line == "{" or '"documents"' in line) else "jsonl"
    if re.match(r"[^|\s]+\|[ta]\|", line) and "\t" not in line:
        return "pubtator"
    if line.startswith(("<?xml", "<!DOCTYPE collection", "<collection")):
        return "bioc"
    return "jsonl" if re.match(r'{\s*"|\[\s*("|{|\[\s*")', line) else "conll"
