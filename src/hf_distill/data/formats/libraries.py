"""Formats that a library reads: BioC (XML, JSON) and spaCy's DocBin."""

import importlib
from collections import Counter
from collections.abc import Iterator
from types import ModuleType

from ...files import read_bytes
from ...runtime.tags import UserError
from .documents import Document, Span, make_document

NO_MENTIONS = "annotations that are no mentions"


def read_bioc(path: str) -> Iterator[Document]:
    """Yield the passages of a BioC collection, XML or JSON, each as a document with its sentences, if it has any.

    Annotations of several locations (discontinuous mentions) or of none, and relations, are counted and left out.

    Raises:
        UserError: the file cannot be read, or the library bioc is missing.
    """
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    reader = import_library(
        "bioc.biocxml" if content.lstrip().startswith(b"<") else "bioc.biocjson", f"{path}: reading this", "formats"
    )
    try:
        collection = reader.loads(content.decode())
    except Exception as error:  # of lxml, json and bioc itself
        raise UserError(f"{path}: not a BioC collection: {type(error).__name__}: {error}") from None
    for document in collection.documents:
        beside = len(document.annotations) + len(document.relations)
        for number, passage in enumerate(document.passages, 1):
            place = f"{path}: document {document.id}, passage {number}"
            yield _read_passage(passage, place, str(document.id), beside if number == 1 else 0)


def _read_passage(passage, place: str, name: str, beside: int) -> Document:
    text, base = passage.text or "", passage.offset
    if not text and passage.sentences:
        for sentence in passage.sentences:
            text = text.ljust(sentence.offset - base) + (sentence.text or "")
    sentences = [(each.offset - base, each.offset - base + len(each.text or "")) for each in passage.sentences]
    spans, left_out = [], Counter[str]()
    left_out[NO_MENTIONS] += beside + len(passage.relations) + sum(len(each.relations) for each in passage.sentences)
    for annotation in [*passage.annotations, *(own for each in passage.sentences for own in each.annotations)]:
        entity = annotation.infons.get("type")
        if not isinstance(entity, str):
            raise UserError(f"{place}: the annotation {annotation.id!s:.80} has no type (infon).")
        if len(annotation.locations) != 1:
            left_out["discontinuous mentions" if annotation.locations else NO_MENTIONS] += 1
            continue
        [location] = annotation.locations
        start = location.offset - base
        if text[start : start + location.length] != (annotation.text or ""):
            raise UserError(
                f"{place}: the annotation {annotation.id!s:.80} is {annotation.text!r:.80}, but its place in the text "
                f"is {text[max(0, start) : start + location.length]!r:.80}."
            )
        spans.append(Span(entity, start, start + location.length, place))
    return make_document(text, spans, place, name, sentences, +left_out)


def read_docbin(path: str) -> Iterator[Document]:
    """Yield the documents of a .spacy file: `doc.ents`, and the sentences that it marks.

    Raises:
        UserError: the file cannot be read, or spaCy is missing.
    """
    spacy = import_library("spacy", f"{path}: reading this", "formats")
    tokens = import_library("spacy.tokens", f"{path}: reading this", "formats")
    try:
        documents = list(tokens.DocBin().from_bytes(read_bytes(path)).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # of msgpack, zlib and spaCy itself
        raise UserError(f"{path}: not a DocBin of spaCy: {type(error).__name__}: {error}") from None
    for number, document in enumerate(documents, 1):
        place = f"{path}: document {number}"
        spans = [Span(each.label_, each.start_char, each.end_char, place) for each in document.ents]
        marked = document.has_annotation("SENT_START")
        sentences = [(each.start_char, each.end_char) for each in document.sents] if marked else []
        groups = sum(map(len, document.spans.values()))
        left_out = {"spans of span groups (doc.spans)": groups} if groups else {}
        yield make_document(document.text, spans, place, "", sentences, left_out)


def import_library(name: str, what: str, extra: str) -> ModuleType:
    """Import a module of a library that not every installation has.

    Args:
        name: the module.
        what: what needs it.
        extra: the extra of this package that installs it.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise UserError(f'{what} needs {library}: pip install "hf_distill[{extra}]" ({error}).') from None
