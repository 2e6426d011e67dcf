"""Formats that a library reads: BioC (XML, JSON) and spaCy's DocBin."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ...runtime.tags import UserError
from .documents import Document, Span, make_document


def read_bioc(path: str) -> Iterator[Document]:
    """Yield the passages of a BioC collection, XML or JSON, each as a document with its sentences, if it has any.

    Annotations of several locations are discontinuous mentions, those of a text without a location are of the passage.

    Raises:
        UserError: the file cannot be read, or the library bioc is missing.
    """
    reader = _import("bioc.biocjson" if Path(path).suffix == ".json" else "bioc.biocxml", path)
    try:
        with open(path, encoding="utf-8") as file:
            collection = reader.load(file)
    except Exception as error:  # of lxml, json and bioc itself
        raise UserError(f"{path}: not a BioC collection: {type(error).__name__}: {error}") from None
    for document in collection.documents:
        for number, passage in enumerate(document.passages, 1):
            yield _read_passage(passage, f"{path}: document {document.id}, passage {number}", str(document.id))


def _read_passage(passage, place: str, name: str) -> Document:
    text, base = passage.text or "", passage.offset
    if not text and passage.sentences:
        for sentence in passage.sentences:
            text = text.ljust(sentence.offset - base) + (sentence.text or "")
    sentences = [(each.offset - base, each.offset - base + len(each.text or "")) for each in passage.sentences]
    spans, discontinuous = [], 0
    for annotation in [*passage.annotations, *(own for each in passage.sentences for own in each.annotations)]:
        entity = annotation.infons.get("type")
        if not isinstance(entity, str):
            raise UserError(f"{place}: the annotation {annotation.id} has no type (infon).")
        if len(annotation.locations) != 1:
            discontinuous += len(annotation.locations) > 1
            continue
        [location] = annotation.locations
        start = location.offset - base
        if text[start : start + location.length] != (annotation.text or ""):
            raise UserError(
                f"{place}: the annotation {annotation.id} is {annotation.text!r}, but its place in the text is "
                f"{text[max(0, start) : start + location.length]!r}."
            )
        spans.append(Span(entity, start, start + location.length, place))
    return make_document(text, spans, place, name, sentences, discontinuous)


def read_docbin(path: str) -> Iterator[Document]:
    """Yield the documents of a .spacy file, with the sentences that it marks.

    Raises:
        UserError: the file cannot be read, or spaCy is missing.
    """
    spacy = _import("spacy", path)
    tokens = _import("spacy.tokens", path)
    try:
        documents = list(tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # of msgpack, zlib and spaCy itself
        raise UserError(f"{path}: not a DocBin of spaCy: {type(error).__name__}: {error}") from None
    for number, document in enumerate(documents, 1):
        place = f"{path}: document {number}"
        spans = [Span(each.label_, each.start_char, each.end_char, place) for each in document.ents]
        marked = document.has_annotation("SENT_START")
        sentences = [(each.start_char, each.end_char) for each in document.sents] if marked else []
        yield make_document(document.text, spans, place, "", sentences)


def _import(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        library = name.partition(".")[0]
        raise UserError(f'{path}: reading this needs {library}: pip install "hf_distill[formats]".') from None
