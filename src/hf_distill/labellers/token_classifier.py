"""Token classifiers of transformers, and students, as labellers: what `predict` finds."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from ..arguments import AnnotateArguments, PredictionArguments
from ..data.formats.writing import to_json
from ..prediction.predict import choose_runtime, cores, has_gpu, tag_chunks
from ..prediction.tagging import Chunk
from ..runtime.tags import entity_types
from .answer import Answer, choose_labels

CHUNK_TEXTS = 256


class TokenClassifier:
    """A `Labeller` with scores, on a GPU or on all cores.

    Args:
        model: Hub id or folder.
        args: the arguments of the command.

    Raises:
        UserError: it cannot be used, or has not these labels.
    """

    def __init__(self, model: str, args: AnnotateArguments):
        prediction = PredictionArguments(model, args.input, args.output, trust_remote_code=args.trust_remote_code)
        gpu = has_gpu()
        _, self.setup, notices = choose_runtime(prediction, "cuda" if gpu else "cpu")
        self.workers = 1 if gpu else cores()
        self.labels = choose_labels(args.labels, entity_types(self.setup.tags), model)
        for notice in notices:
            print(notice, flush=True)

    def annotate(self, texts: Iterable[str]) -> Iterator[Answer]:
        """See `Labeller`."""
        for tagged in tag_chunks(_chunks(texts), self.setup, self.workers):
            for line in tagged.content.splitlines():
                found = json.loads(line)["mentions"]
                yield Answer([mention for mention in found if mention["entity_group"] in self.labels])


def _chunks(texts: Iterable[str]) -> Iterator[Chunk]:
    lines = (f"{to_json({'text': text})}\n".encode() for text in texts)
    while content := b"".join(islice(lines, CHUNK_TEXTS)):
        yield Chunk("texts.jsonl", 1, content)
