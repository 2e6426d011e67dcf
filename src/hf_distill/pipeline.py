"""From running text to mentions. A saved student carries this file along, with those that it imports."""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from transformers import Pipeline
from transformers.utils import cached_file

from .alignment import predict_words, window_length
from .labels import constrained_decode, model_tags, spans
from .onnx_model import OnnxModel
from .words import PUNCTUATION_APART, split_words


class MentionPipeline(Pipeline):
    """Finds the mentions of named entities in texts of any length.

    `pipeline("token-classification", model=NAME, trust_remote_code=True)` makes one. Words are split as in the training
    data (`config.word_pattern`), long texts are cut into overlapping windows, and of all tag sequences that the tag
    scheme allows the most probable is taken.

    Args:
        onnx: answer with this file of the model's folder `onnx` ("model_quantized.onnx") instead of PyTorch.
        threads: of ONNX Runtime; 0 takes all cores.

    Example:
        >>> find = pipeline("token-classification", model="student", trust_remote_code=True)
        >>> mentions = find("Loss of p53 raised MDM2 levels.")
        >>> both = find([["Loss", "of", "p53"], ["MDM2"]], is_split_into_words=True)
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args, onnx: str | None = None, threads: int = 0, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.model.config
        self.tags = model_tags(config)
        self.pattern = getattr(config, "word_pattern", None) or PUNCTUATION_APART
        self.max_length = window_length(self.tokenizer, config)
        self.speaker = self.model.eval()
        if onnx:
            # Of the commit that this code is of: transformers hands no revision on, but names its modules by it.
            commit = re.search(r"\.([0-9a-f]{40})\.", type(self).__module__)
            path = cached_file(config._name_or_path, f"onnx/{onnx}", revision=commit and commit.group(1))
            self.speaker = OnnxModel(path, config, threads)

    def __call__(self, inputs, is_split_into_words: bool = False, **kwargs):
        """The mentions of a text, or of each of several (a list, a dataset, a generator).

        Args:
            inputs: texts; with `is_split_into_words` lists of words, which count as joined by blanks.
            is_split_into_words: the texts are split already.
            batch_size: texts that the model reads at a time.

        Returns:
            Of each text a list of mentions: `entity_group`, `score` (the mean probability of its words' tags), `word`
            (the text of the mention), `start` and `end` (characters of the text).
        """
        if isinstance(inputs, list) and not inputs:
            return []
        if is_split_into_words and isinstance(inputs, list) and isinstance(inputs[0], str):
            return super().__call__([inputs], **kwargs)[0]
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, aggregation_strategy: str = "first"):
        if str(getattr(aggregation_strategy, "value", aggregation_strategy)) == "none":
            raise ValueError('This pipeline gives whole mentions; for single tokens use pipeline("ner", ...).')
        return {}, {}, {}

    def preprocess(self, inputs: str | Sequence[str]) -> dict:
        """The text, its words and where they stand."""
        return place_words(inputs, self.pattern)

    def _forward(self, inputs: dict) -> dict:
        several = isinstance(inputs["text"], list)
        sentences = inputs["words"] if several else [inputs["words"]]
        logits = predict_words(self.speaker, self.tokenizer, sentences, self.max_length)
        # In a list of its own, which transformers hands on as it is; to a bare array it would add a dimension.
        return inputs | {"logits": [[scores] for scores in logits] if several else logits}

    def postprocess(self, outputs: dict) -> list[dict]:
        """Mentions out of the words' logits."""
        [logits] = outputs["logits"]
        [labels] = constrained_decode([logits], self.tags)
        return make_mentions(outputs, logits, labels, self.tags)


def place_words(text: str | Sequence[str], pattern: str) -> dict:
    """The `text`, its `words` and their `places` (first character, last character + 1).

    Args:
        text: running text, or a list of words, which count as joined by blanks.
        pattern: what a word of running text is (a regular expression).
    """
    if isinstance(text, str):
        places = split_words(text, pattern)
        return {"text": text, "words": [text[start:end] for start, end in places], "places": places}
    ends = list(accumulate(len(word) + 1 for word in text))
    places = [(end - 1 - len(word), end - 1) for word, end in zip(text, ends, strict=True)]
    return {"text": " ".join(text), "words": list(text), "places": places}


def make_mentions(placed: Mapping, logits: np.ndarray, labels: Sequence[int], tags: Sequence[str]) -> list[dict]:
    """The mentions of a text.

    Args:
        placed: what `place_words` says of the text.
        logits: of its words, [words, labels].
        labels: the label ids that were decoded from them.
        tags: the labels' tags.
    """
    mentions = []
    for entity, first, last in spans([tags[label] for label in labels]):
        start, end = placed["places"][first][0], placed["places"][last - 1][1]
        probabilities = torch.from_numpy(logits[first:last]).softmax(-1).numpy()
        scores = probabilities[np.arange(last - first), labels[first:last]]
        mentions.append(
            {
                "entity_group": entity,
                "score": float(scores.mean()),
                "word": placed["text"][start:end],
                "start": start,
                "end": end,
            }
        )
    return mentions
