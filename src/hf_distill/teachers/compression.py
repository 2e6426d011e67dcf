"""The largest logits of each word, where labels are many: they hold nearly all of the teacher's probability."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ALL = 48  # up to so many labels, all logits are stored: at most 192 bytes a word
LARGEST = 16  # else so many: 100 bytes a word


class Signals(NamedTuple):
    """A teacher's logits for the words of a sentence.

    Attributes:
        logits: of all labels, [words, labels]; or of the `LARGEST`, by label, and of all others together (the
            log of the sum of their exponentials), [words, LARGEST + 1]. float32.
        labels: the labels with the largest logits, [words, LARGEST], uint16; None: all labels are there.
    """

    logits: np.ndarray
    labels: np.ndarray | None = None


def compress(sentences: Sequence[np.ndarray]) -> list[Signals]:
    """Return what is stored of the logits [words, labels] of each sentence."""
    if sentences[0].shape[1] <= ALL:
        return list(map(Signals, sentences))
    scores = torch.from_numpy(np.concatenate(sentences))
    labels = scores.topk(LARGEST).indices.sort().values
    others = scores.scatter(1, labels, -math.inf).logsumexp(1, keepdim=True)
    logits = torch.cat([scores.gather(1, labels), others], 1)
    ends = np.cumsum([len(own) for own in sentences])[:-1]
    stored = (np.split(each, ends) for each in (logits.numpy(), labels.numpy().astype(np.uint16)))
    return list(map(Signals, *stored))


def restore(logits: Tensor, labels: Tensor, n_labels: int) -> Tensor:
    """Return the logits of all labels; those that are stored together become equal.

    Args:
        logits: those of `Signals`, [..., LARGEST + 1].
        labels: their labels, [..., LARGEST].
        n_labels: the number of all labels.
    """
    each = logits[..., -1:] - math.log(n_labels - labels.shape[-1])
    return each.expand(*each.shape[:-1], n_labels).scatter(-1, labels, logits[..., :-1])
