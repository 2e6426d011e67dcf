"""A student with everything that is needed to run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..runtime.windows import window_length


@dataclass
class Student:
    """A token classifier that is trained, evaluated or exported.

    Attributes:
        model: the token classifier.
        tokenizer: its tokenizer.
        max_length: subwords per window, special tokens included.
        tags: the tags of its labels, in order.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    tags: list[str]

    @classmethod
    def with_limit(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tags: Sequence[str],
        max_seq_length: int | None = None,
    ) -> Student:
        """A student whose windows are as long as model and tokenizer allow, and at most `max_seq_length`; that becomes
        the tokenizer's own limit, so that whoever loads it reads windows like those of the training.
        """
        length = window_length(tokenizer, model.config, max_seq_length)
        if max_seq_length:
            tokenizer.model_max_length = length
        return cls(model, tokenizer, length, list(tags))
