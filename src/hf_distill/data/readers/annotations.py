"""Reader for the answers of labellers that are known by these alone: texts with mentions, as `annotate` writes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from datasets import Dataset, concatenate_datasets

from ...arguments import DataArguments
from ...runtime.tags import UserError, convert_tags, spans
from ..formats.documents import Alignment, Document, Span, squeeze
from ..formats.source import Source
from ..tag_format import TagFormat
from .common import ANSWERS, answer
from .labelled import load_labelled
from .text import choose_splitting

LABELLERS = 32


def load_annotations(
    args: DataArguments,
    sentences: Sequence[Sequence[str]],
    tag_scheme: str,
    tag_format: TagFormat,
    rule: str,
    rule_finds: float,
) -> Dataset:
    """Load the files of `args.path_to_annotations`, in any format of labelled corpora, which their content tells.

    A text that differs from a given sentence in blanks alone has its words; any other is split into words as text
    without labels is. Answers whose file names no source have that file as theirs.

    Args:
        args: the data arguments.
        sentences: the words of each sentence of the other corpora.
        tag_scheme: the scheme, IOB2 or IOBES, of the tags.
        tag_format: the names of the entity types.
        rule: how to split running text into words, one of `words.RULES`.
        rule_finds: as in `load_unlabeled`.

    Returns:
        A dataset with the columns of ANSWERS: a row for each answer.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it; or there are more than LABELLERS sources.
    """
    # A word of nothing but unusual blanks has no place in a text.
    known = {squeeze(" ".join(words)): list(words) for words in sentences if all(map(squeeze, words))}
    args, tag_format = replace(args, input_format=None), replace(tag_format, scheme=None)
    parts = []
    for path in args.path_to_annotations:
        source = Source.find(path, args)
        alignment = Alignment(None, source.misaligned, source.nested, known)
        if source.has_documents():
            texts = ((document.place, document.text) for document in source.documents())
            alignment.rule = choose_splitting(path, texts, rule, rule_finds)
            answers = load_labelled(source, tag_scheme, None, tag_format, alignment, ANSWERS)
        else:
            answers = load_labelled(source, tag_scheme, None, tag_format, None, ANSWERS)
            other = [row for row, words in enumerate(answers["tokens"]) if _has_other_words(words, known)]
            alignment.check(_documents(answers.select(other), path))
            answers = answers.map(
                _take_known_words, fn_kwargs={"path": path, "alignment": alignment, "scheme": tag_scheme}
            )
        parts.append(answers.map(_name_source, fn_kwargs={"name": path}, desc="Naming labellers"))
    found = concatenate_datasets(parts)
    names = found.unique("source")
    if len(names) > LABELLERS:
        raise UserError(
            f"--path_to_annotations: `source` names {len(names):,} labellers ({', '.join(names[:3])}, ...). It says "
            "whose answer it is, not where a text is from: give that another name in the file."
        )
    return found


def _has_other_words(words: list[str], known: Mapping[str, Sequence[str]]) -> bool:
    """Whether a sentence is one of the known ones, but is split otherwise."""
    return known.get(squeeze(" ".join(words)), words) != words


def _documents(rows: Dataset, path: str) -> Iterator[Document]:
    for row in rows:
        yield _document(row, path)


def _document(row: Mapping[str, Any], path: str) -> Document:
    """The words of a row, joined by blanks, with its mentions."""
    ends = [0]
    for word in row["tokens"]:
        ends.append(ends[-1] + len(word) + 1)
    mentions = [
        Span(entity, ends[first], ends[last] - 1, path, None if isnan(row["scores"][first]) else row["scores"][first])
        for entity, first, last in spans(row["tags"])
    ]
    return Document(" ".join(row["tokens"]), mentions, path, source=row["source"])


def _take_known_words(row: dict, path: str, alignment: Alignment, scheme: str) -> dict:
    if not _has_other_words(row["tokens"], alignment.known):
        return row
    [sentence] = alignment.sentences([_document(row, path)])
    tags = convert_tags(sentence.tags, scheme)
    return {"tokens": sentence.words, "tags": tags} | answer(sentence)


def _name_source(row: dict, name: str) -> dict:
    return {"source": row["source"] or name}
