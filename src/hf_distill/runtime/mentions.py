"""From texts to words, and from the words' logits to mentions.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from .confidence import UNCALIBRATED, Calibration, decode_mentions
from .tags import UserError, spans
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


def check_text(text: Any, name: str) -> str | list[str]:
    """Return a text, or a list of words, if it is one.

    Raises:
        UserError: it is none, or has half of a character; the message begins with `name`.
    """
    parts = [text] if isinstance(text, str) else text
    if not isinstance(parts, list | tuple | np.ndarray) or not all(isinstance(part, str) for part in parts):
        raise UserError(
            f"{name}: expected a string or a list of words, not {text!r:.80}. Of a dataset give a column of texts."
        )
    try:
        "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name}: half of a character (an unpaired surrogate): {error}.") from None
    return text if isinstance(text, str) else list(parts)


def locate_words(text: str | Sequence[str], rule: str, delimiter: str = " ") -> dict:
    """Return a dictionary of the `text`, its `words`, and the `rule` by which it was split or the `delimiter`.

    Args:
        text: a string, or a list of words.
        rule: what a word of a string is, one of `words.RULES`.
        delimiter: what stands between the words of a list.
    """
    if isinstance(text, str):
        return {"text": text, "words": find_words(text, rule), "rule": rule, "delimiter": ""}
    return {"text": delimiter.join(text), "words": list(text), "rule": "", "delimiter": delimiter}


def word_places(located: Mapping) -> list[tuple[int, int]]:
    """Return the character offsets (end exclusive) of the words of `locate_words`."""
    if located["rule"]:
        return split_words(located["text"], located["rule"])
    starts = accumulate((len(word) + len(located["delimiter"]) for word in located["words"]), initial=0)
    return [(start, start + len(word)) for word, start in zip(located["words"], starts, strict=False)]


def find_mentions(
    located: Sequence[Mapping],
    logits: Sequence[np.ndarray],
    tags: Sequence[str],
    calibration: Calibration = UNCALIBRATED,
    thresholds: Mapping[str, float] | None = None,
) -> Iterator[tuple[Mapping, list[int], list[dict]]]:
    """Yield each text of `locate_words`, the label ids of its words, and its mentions as dictionaries.

    Args:
        located: the texts and their words.
        logits: one array [words, labels] per text.
        tags: the tag of each label id.
        calibration: as of `decode_mentions`.
        thresholds: as of `decode_mentions`.
    """
    decoded = decode_mentions(logits, tags, calibration, thresholds)
    for text, labels, scores in zip(located, *decoded, strict=True):
        yield text, labels, _make_mentions(text, labels, scores, tags)


def _make_mentions(located: Mapping, labels: Sequence[int], scores: Sequence[float], tags: Sequence[str]) -> list[dict]:
    if not scores:
        return []
    places = word_places(located)
    mentions = []
    for (entity, first, last), score in zip(spans([tags[label] for label in labels]), scores, strict=True):
        start, end = places[first][0], places[last - 1][1]
        word = located["text"][start:end]
        mentions.append({"entity_group": entity, "score": score, "word": word, "start": start, "end": end})
    return mentions
