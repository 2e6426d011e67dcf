"""Reader for the answers of labellers that are known by these alone: texts with mentions, as `annotate` writes them."""

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets

from ...arguments import DataArguments
from ..formats.documents import Alignment, squeeze
from ..formats.source import Source
from ..tag_format import TagFormat
from .common import ANSWERS
from .labelled import load_labelled
from .text import choose_splitting


def load_annotations(
    args: DataArguments,
    sentences: Sequence[Sequence[str]],
    tag_scheme: str,
    tag_format: TagFormat,
    rule: str,
    rule_finds: float,
) -> Dataset:
    """Load the files of `args.path_to_annotations`, in any format of labelled corpora.

    A text that differs from a given sentence in blanks alone has its words; any other is split into words as text
    without labels is. Answers whose file names no source have that file as theirs.

    Args:
        args: the data arguments.
        sentences: the words of each sentence of the other corpora.
        tag_scheme: the scheme, IOB2 or IOBES, of the tags.
        tag_format: the names of the entity types, and how tags are written, where a file has these.
        rule: how to split running text into words, one of `words.RULES`.
        rule_finds: as in `load_unlabeled`.

    Returns:
        A dataset with the columns of ANSWERS: a row for each answer.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    known = {squeeze(" ".join(words)): list(words) for words in sentences}
    parts = []
    for path in args.path_to_annotations:
        source, alignment = Source.find(path, args), None
        if source.has_documents():
            texts = ((document.place, document.text) for document in source.documents())
            own = choose_splitting(path, texts, rule, rule_finds)
            alignment = Alignment(own, source.misaligned, source.nested, known)
        answers = load_labelled(source, tag_scheme, None, tag_format, alignment, ANSWERS)
        parts.append(answers.map(_name_source, fn_kwargs={"name": path}, desc="Naming labellers"))
    return concatenate_datasets(parts)


def _name_source(row: dict, name: str) -> dict:
    return {"source": row["source"] or name}
