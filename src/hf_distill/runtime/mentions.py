"""From texts to words, and from the words' logits to mentions.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from .tags import OUTSIDE, spans
from .words import WORDS_THAT_FIT, find_words, split_words, word_rule

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def running_text_notice(config: PretrainedConfig) -> str:
    """Return what a user has to know who gives a model running text that it was not trained to split; else ""."""
    found = getattr(config, "word_rule_finds", None)
    if found is None or found >= WORDS_THAT_FIT:
        return ""
    return (
        f"{config._name_or_path}: splitting running text (config.word_rule: {word_rule(config)}) finds only "
        f"{found:.1%} of the words of the model's training data, so that it may miss mentions: give it lists of words."
    )


def locate_words(text: str | Sequence[str], rule: str) -> dict:
    """Return a dictionary of the `text`, its `words`, and the `rule` by which it was split, if it was.

    Args:
        text: a string, or a list of words, which are joined by spaces.
        rule: what a word of a string is, one of `words.RULES`.
    """
    if isinstance(text, str):
        return {"text": text, "words": find_words(text, rule), "rule": rule}
    return {"text": " ".join(text), "words": list(text), "rule": None}


def word_places(located: Mapping) -> list[tuple[int, int]]:
    """Return the character offsets (end exclusive) of the words of `locate_words`."""
    if located["rule"]:
        return split_words(located["text"], located["rule"])
    ends = list(accumulate(len(word) + 1 for word in located["words"]))
    return [(end - 1 - len(word), end - 1) for word, end in zip(located["words"], ends, strict=True)]


def make_mentions(located: Mapping, logits: np.ndarray, labels: Sequence[int], tags: Sequence[str]) -> list[dict]:
    """Return the mentions of a text as dictionaries, as `MentionPipeline` and `Tagger` do.

    Args:
        located: the text and its words, from `locate_words`.
        logits: [words, labels].
        labels: the label id of each word, decoded from the logits.
        tags: the tag of each label id.
    """
    names = [tags[label] for label in labels]
    if names.count(OUTSIDE) == len(names):
        return []
    places = word_places(located)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponentials[np.arange(len(labels)), labels] / exponentials.sum(-1)
    mentions = []
    for entity, first, last in spans(names):
        start, end = places[first][0], places[last - 1][1]
        score = float(probabilities[first:last].mean())
        word = located["text"][start:end]
        mentions.append({"entity_group": entity, "score": score, "word": word, "start": start, "end": end})
    return mentions
