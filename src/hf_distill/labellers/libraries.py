"""Models of GLiNER and pipelines of spaCy as labellers."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from ..arguments import AnnotateArguments
from ..data.formats.libraries import import_library
from ..prediction.predict import has_gpu
from ..runtime.tags import UserError
from .answer import Answer, choose_labels, make_mention

BATCH_TEXTS = 32


class SpacyPipeline:
    """A `Labeller` without scores: `doc.ents`.

    Args:
        model: a package or folder.
        args: the arguments of the command.

    Raises:
        UserError: there is no such pipeline, or it has not these labels.
    """

    def __init__(self, model: str, args: AnnotateArguments):
        spacy = import_library("spacy", args.labeller, "formats")
        try:
            self.nlp = spacy.load(model)
        except (OSError, ImportError, ValueError) as error:
            raise UserError(f"{model}: spaCy cannot load it: {error}") from None
        self.nlp.max_length = sys.maxsize  # this limit, which saves memory, would end the run at a longer text
        finders = [
            name
            for name, component in self.nlp.pipeline
            # A span ruler sets entities only if it is told to.
            if "doc.ents" in self.nlp.get_pipe_meta(name).assigns or getattr(component, "annotate_ents", False)
        ]
        known = {label for name in finders for label in self.nlp.pipe_labels.get(name, ())}
        self.labels = choose_labels(args.labels, known, model)

    def annotate(self, texts: Iterable[str]) -> Iterator[Answer]:
        """See `Labeller`."""
        for doc in self.nlp.pipe(texts, batch_size=BATCH_TEXTS):
            found = [entity for entity in doc.ents if entity.label_ in self.labels]
            yield Answer([make_mention(doc.text, each.label_, each.start_char, each.end_char) for each in found])


class Gliner:
    """A `Labeller` with scores. Long texts are cut into pieces, because GLiNER reads no more than their beginning.

    Args:
        model: Hub id or folder.
        args: the arguments of the command.

    Raises:
        UserError: it cannot be loaded.
    """

    def __init__(self, model: str, args: AnnotateArguments):
        gliner = import_library("gliner", args.labeller, "gliner")
        try:
            self.model = gliner.GLiNER.from_pretrained(model, map_location="cuda" if has_gpu() else "cpu")
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{model}: GLiNER cannot load it: {error}") from None
        self.labels, self.threshold = args.labels, 0.5 if args.threshold is None else args.threshold
        self.tokenizer = self.model.data_processor.transformer_tokenizer
        config = self.model.config
        prompt = [word for label in self.labels for word in (config.ent_token, label)] + [config.sep_token]
        used = len(self.tokenizer(prompt, is_split_into_words=True).input_ids)
        self.words, self.subwords = config.max_len, self.tokenizer.model_max_length - used
        if self.subwords < 1:
            raise UserError(f"{model}: beside so many labels there is no room for a text. Give fewer.")

    def annotate(self, texts: Iterable[str]) -> Iterator[Answer]:
        """See `Labeller`."""
        remaining = iter(texts)
        while batch := list(islice(remaining, BATCH_TEXTS)):
            pieces = [(number, start, end) for number, text in enumerate(batch) for start, end in self._pieces(text)]
            found = self.model.inference(
                [batch[number][start:end] for number, start, end in pieces], self.labels, threshold=self.threshold
            )
            mentions: list[list[dict]] = [[] for _ in batch]
            for (number, offset, _), entities in zip(pieces, found, strict=True):
                for entity in entities:
                    place = offset + entity["start"], offset + entity["end"]
                    mention = make_mention(batch[number], entity["label"], *place)
                    mentions[number].append(mention | {"score": float(entity["score"])})
            yield from map(Answer, mentions)

    def _pieces(self, text: str) -> Iterator[tuple[int, int]]:
        """The offsets of the pieces of a text, each as long as the model reads, up to the end of a sentence if there is
        one in the second half, else up to a blank.
        """
        words = [(start, end) for _, start, end in self.model.data_processor.words_splitter(text)]
        if not words:
            return
        encoded = self.tokenizer(
            [text[start:end] for start, end in words], is_split_into_words=True, add_special_tokens=False,
            truncation=False, verbose=False,
        )  # fmt: skip
        sizes = [0] * len(words)
        for word in encoded.word_ids():
            sizes[word] += 1
        first = 0
        while first < len(words):
            last, size = first, 0
            while last < len(words) and last - first < self.words and size + sizes[last] <= self.subwords:
                size += sizes[last]
                last += 1
            last = max(last, first + 1)
            if last < len(words):
                blanks = [number for number in range(last, first, -1) if words[number - 1][1] < words[number][0]]
                half = [number for number in blanks if number - first > (last - first) // 2]
                ends = [number for number in half if text[words[number - 1][1] - 1] in ".!?"]
                last = (ends or blanks or [last])[0]
            yield words[first][0], words[last - 1][1]
            first = last
