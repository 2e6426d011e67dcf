"""`hf-distill convert`: labelled corpora from one format to another."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...arguments import ConvertArguments, FormatArguments
from ...files import replacing, write_columns
from ...runtime.mentions import locate_words, word_places
from ...runtime.tags import UserError, convert_tags, spans
from ...runtime.words import DEFAULT_RULE
from .documents import Alignment, Sentence, choose_word_rule
from .source import Source
from .writing import to_json


def convert(args: ConvertArguments) -> str:
    """Convert a corpus; return what was written and what was left out.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    output = Path(args.output)
    if output.resolve() == Path(args.input).resolve():
        raise UserError(f"{args.output}: would overwrite the input; choose another name.")
    if output.is_dir():
        raise UserError(f"{args.output}: is a folder; give the name of a file.")
    if not output.parent.is_dir():
        raise UserError(f"{args.output}: there is no folder {output.parent}; create it first.")
    source, others = Source.find(args.input, args), Counter[str]()
    written = _write_lines(source, args, others) if output.suffix == ".jsonl" else _write_tags(source, args, others)
    found = ", ".join(f"{kind}: {number:,}" for kind, number in sorted(written.items())) or "nothing"
    left = ", ".join(f"{kind}: {number:,}" for kind, number in others.items())
    return f"{args.output}: {found}" + (f" (not taken as it stands: {left})" if left else "")


def _write_lines(source: Source, args: ConvertArguments, others: Counter[str]) -> Counter[str]:
    """Write texts with mentions; of sentences, the words joined by blanks."""
    written: Counter[str] = Counter()
    with replacing(args.output) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for fields in read_texts(source, args, others):
            written["texts"] += 1
            written.update(f"mentions of {mention['entity_group']}" for mention in fields["mentions"])
            file.write(f"{to_json(fields)}\n")
    return written


def read_texts(source: Source, args: FormatArguments, others: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the texts of a corpus with their `mentions`; of sentences, the words joined by blanks.

    Args:
        source: the corpus.
        args: how its tags are read.
        others: counts what is left out.

    Raises:
        UserError: `PATH:LINE:`, the error and how to correct it.
    """
    return _texts(source, others) if source.has_documents() else _joined(source, args, others)


def _texts(source: Source, others: Counter[str]) -> Iterator[dict[str, Any]]:
    for document in source.documents(others):
        fields: dict[str, Any] = {"id": document.name} if document.name else {}
        fields |= {"text": document.text, "mentions": document.mentions()}
        if document.source:
            fields["source"] = document.source
        if document.sentences:
            fields["sents"] = [{"start": start, "end": end} for start, end in document.sentences]
        yield fields


def _joined(source: Source, args: FormatArguments, others: Counter[str]) -> Iterator[dict[str, Any]]:
    for words, tags, *_ in _read_tags(source, args, others):
        located = locate_words(words, DEFAULT_RULE)
        places = word_places(located)
        mentions = []
        for entity, first, last in spans(tags):
            start, end = places[first][0], places[last - 1][1]
            mentions.append({"entity_group": entity, "start": start, "end": end, "word": located["text"][start:end]})
        yield {"text": located["text"], "mentions": mentions}


def _write_tags(source: Source, args: ConvertArguments, others: Counter[str]) -> Counter[str]:
    """Write a word and its tag per line."""
    if source.has_documents():
        alignment = Alignment(choose_word_rule(source.documents()), args.misaligned, args.nested)
        alignment.check(source.documents(others))
        others.update({what: len(faults) for what, faults in alignment.faults().items() if faults})
        sentences = list(source.sentences(alignment))
    else:
        sentences = list(_read_tags(source, args, others))
    tags = [convert_tags(sentence.tags, args.tag_scheme) for sentence in sentences]
    write_columns(args.output, [sentence.words for sentence in sentences], tags)
    mentions = Counter(f"mentions of {tag[2:]}" for own in tags for tag in own if tag[0] in "BS" and tag != "O")
    return Counter({"sentences": len(sentences)}) + mentions


def _read_tags(source: Source, args: FormatArguments, others: Counter[str]) -> Iterator[Sentence]:
    """The sentences of a corpus of words and tags, in IOBES, whatever their scheme."""
    from ..readers.common import tag_reader
    from ..tag_format import TagFormat

    tag_format = TagFormat(args.input_scheme, args.entity_type, names=tuple(args.tag_names))
    labels = ((sentence.tags, sentence.places) for sentence in source.sentences(others=others))
    reader = tag_reader(labels, source.path, tag_format, "IOBES", None)
    for sentence in source.sentences():
        yield sentence._replace(tags=reader.read(sentence)["tags"])
