"""The component "hf_distill" of spaCy, which finds it by the entry point of this package."""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.util import minibatch

from ..runtime.confidence import Threshold
from ..runtime.tagger import Tagger
from ..runtime.tags import UserError, entity_types


class MentionFinder(Pipe):
    """Sets `doc.ents` to the mentions that a student finds in `doc.text`, and `span._.score` of each.

    A mention that begins or ends within a token is expanded to the whole token. Of mentions that share a token the
    first is taken, with a warning. Entities that the document has already are kept where they do not overlap.

    Args:
        name: of the component.
        tagger: the student.
        threshold: as of `Tagger`.

    Raises:
        UserError: there is no such threshold, or `span._.score` belongs to others.
    """

    scorer = staticmethod(get_ner_prf)  # of `nlp.evaluate`

    def __init__(self, name: str, tagger: Tagger, threshold: Threshold = None):
        tagger([], threshold=threshold)  # a threshold that is none fails here
        if not Span.has_extension("score"):
            Span.set_extension("score", default=None)
        elif Span.get_extension("score")[1:] != (None, None, None):
            raise UserError("span._.score is computed by an extension of others, so that no score can be set.")
        self.name, self.tagger, self.threshold = name, tagger, threshold

    @property
    def labels(self) -> tuple[str, ...]:
        """The types of the entities that it finds."""
        return tuple(entity_types(self.tagger.tags))

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of a document."""
        return _set_entities(doc, self.tagger(doc.text, threshold=self.threshold))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Set the entities of documents, of `batch_size` at once."""
        for docs in minibatch(stream, batch_size):
            try:
                found = self.tagger([doc.text for doc in docs], threshold=self.threshold)
            except UserError as error:
                self.get_error_handler()(self.name, self, docs, error)
            else:
                yield from map(_set_entities, docs, found)


@Language.factory(
    "hf_distill",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={"revision": None, "precision": "int8", "threshold": None},
)
def make_mention_finder(
    nlp: Language, name: str, model: str, revision: str | None, precision: str, threshold: Any
) -> MentionFinder:
    """Make the component.

    Args:
        nlp: the pipeline.
        name: of the component.
        model: Hub id or folder of a student, as all that follow of `Tagger`.
        revision: a branch, tag or commit on the Hub.
        precision: "int8", "fp32" or "auto".
        threshold: the score below which mentions are left out.
    """
    return MentionFinder(name, Tagger.from_pretrained(model, revision, precision), threshold)


def _set_entities(doc: Doc, mentions: list[dict]) -> Doc:
    entities: list[Span] = []
    for mention in mentions:
        span = doc.char_span(mention["start"], mention["end"], mention["entity_group"], alignment_mode="expand")
        assert span is not None  # a mention's characters are in tokens
        if not entities or entities[-1].end <= span.start:
            span._.score = mention["score"]
            entities.append(span)
    if left_out := len(mentions) - len(entities):
        warnings.warn(f"{left_out} mentions share a token with the one before: {doc.text:.80}", stacklevel=2)
    taken = {token.i for entity in entities for token in entity}
    doc.ents = entities + [entity for entity in doc.ents if taken.isdisjoint(range(entity.start, entity.end))]
    return doc
