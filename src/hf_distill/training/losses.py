"""Loss terms, as sums over their items.

Every function returns the *sum*, over the items that its mask selects (words, subwords or query-key pairs), of the mean
error of an item. The trainer divides by the number of such items in the whole optimiser step, so that the gradient does
not depend on how the step is split into micro-batches and processes. All arithmetic is in fp32.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.decoding import find_transitions
from ..teachers.compression import restore

UNREACHED = -1e4  # the score of a state that no path leads to; finite, because gradients pass through it


def logit_mse(student: Tensor, teacher: Tensor, mask: Tensor, labels: Tensor | None = None) -> Tensor:
    """Squared error between logits (Ba and Caruana 2014, arXiv 1312.6184), averaged over labels, summed over words.

    Args:
        student: logits [batch, words, labels].
        teacher: logits of the same shape; or the largest and the rest, [batch, words, n + 1] (see `Signals`).
        mask: [batch, words], true for words with teacher logits.
        labels: the labels of the largest, [batch, words, n].
    """
    if labels is not None:
        teacher = restore(teacher, labels, student.shape[-1])
    return ((student.float() - teacher.float()) ** 2).mean(-1)[mask].sum()


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, mask: Tensor, temperature: float, labels: Tensor | None = None
) -> Tensor:
    """Cross-entropy with the teacher's softened distribution (Hinton et al. 2015, arXiv 1503.02531).

    The factor temperature squared keeps the gradient's scale independent of the temperature. Shapes as in `logit_mse`.
    """
    scores = teacher.float() / temperature
    log_probabilities = F.log_softmax(student.float() / temperature, dim=-1)
    if labels is not None:
        # The rest share one logit (`restore`): what counts of the student is the mean over them.
        rest = student.shape[-1] - labels.shape[-1]
        largest = log_probabilities.gather(-1, labels)
        mean = (log_probabilities.sum(-1, keepdim=True) - largest.sum(-1, keepdim=True)) / rest
        log_probabilities = torch.cat([largest, mean], -1)
        scores[..., -1] += math.log(rest) * (1 - 1 / temperature)
    target = F.softmax(scores, dim=-1)
    return -(target * log_probabilities).sum(-1)[mask].sum() * temperature**2


def sequence_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    tags: Sequence[str],
    temperature: float = 1.0,
    labels: Tensor | None = None,
) -> Tensor:
    """Cross-entropy between distributions over the valid tag sequences (Wang et al. 2020, arXiv 2004.03846), which is
    what mentions are decoded and scored by: the probability of a sequence is that of its summed logits.

    Args:
        student: logits [batch, words, labels].
        teacher: logits of the same shape; or the largest and the rest, [batch, words, n + 1] (see `Signals`).
        mask: [batch, words], true for words with teacher logits: the first ones of a sentence, or none.
        tags: the tag of each label; their scheme defines the valid sequences.
        temperature: by which logits are divided; the sum is multiplied by its square.
        labels: the labels of the largest, [batch, words, n].
    """
    if labels is not None:
        teacher = restore(teacher, labels, student.shape[-1])
    with torch.enable_grad():
        scores = (teacher.detach().float() / temperature).masked_fill(~mask[..., None], 0.0).requires_grad_()
        # The derivative of the log-partition function is the probability of each label.
        [probabilities] = torch.autograd.grad(_log_partition(scores, mask, tuple(tags)).sum(), scores)
    own = (student.float() / temperature).masked_fill(~mask[..., None], 0.0)
    return (_log_partition(own, mask, tuple(tags)).sum() - (probabilities * own).sum()) * temperature**2


def _log_partition(logits: Tensor, mask: Tensor, tags: tuple[str, ...]) -> Tensor:
    """The log of the summed exponentials of the scores of all valid tag sequences, [batch]."""
    labels, sources, others = (each.to(logits.device) for each in _steps(tags))
    split = len(labels) - int((others < len(labels)).sum())
    scores = logits[..., labels]
    states = logits.new_full((len(logits), 1 + len(others)), UNREACHED)
    states[:, 0] = 0.0
    for place in range(logits.shape[1]):
        steps = states[:, sources] + scores[:, place]
        # Steps to state 0, where no mention is open, come first.
        closed = steps[:, :split].logsumexp(-1, keepdim=True)
        steps = torch.cat([steps, steps.new_full((len(steps), 1), UNREACHED)], -1)
        reached = torch.cat([closed, steps[:, others].logsumexp(-1)], -1)
        states = torch.where(mask[:, place, None], reached, states)
    return states[:, 0]


@lru_cache(maxsize=16)
def _steps(tags: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Labels and sources of the steps of `find_transitions`, and of each state but the first the steps to it,
    [states - 1, n], filled up with the number of all steps.
    """
    transitions = find_transitions(tags)
    steps = len(transitions.labels)
    bounds = [*transitions.first.tolist(), steps]
    reaching = [list(range(*bounds[state : state + 2])) for state in range(1, len(bounds) - 1)]
    widest = max(map(len, reaching), default=0)
    others = [own + [steps] * (widest - len(own)) for own in reaching]
    filled = torch.tensor(others, dtype=torch.long).reshape(len(others), widest)
    return torch.tensor(transitions.labels), torch.tensor(transitions.sources), filled


def hard_cross_entropy(student: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy with the gold labels.

    Args:
        student: logits [batch, words, labels].
        labels: [batch, words], -100 where there is no label.
        label_smoothing: probability mass that is spread evenly over all labels.
    """
    return F.cross_entropy(
        student.float().flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=label_smoothing
    )


def state_mse(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Squared error between paired hidden states, averaged over dimensions and pairs, summed over subwords
    (TinyBERT, Jiao et al. 2020, arXiv 1909.10351).

    Args:
        student: tensors [batch, subwords, dimensions].
        teacher: as many tensors of the same shape.
        mask: [batch, subwords], the attention mask, true for all but padding.
    """
    pairs = zip(student, teacher, strict=True)
    first, *others = (((s.float() - t.float()) ** 2).mean(-1)[mask].sum() for s, t in pairs)
    return sum(others, first) / len(student)


def attention_mse(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Squared error between paired attention probabilities, averaged over heads and pairs, summed over the query-key
    pairs of subwords (TinyBERT, arXiv 1909.10351).

    Args:
        student: tensors [batch, heads, subwords, subwords].
        teacher: as many tensors of the same shape.
        mask: [batch, subwords], the attention mask, true for all but padding.
    """
    pair_mask = mask[:, :, None] & mask[:, None, :]
    pairs = zip(student, teacher, strict=True)
    first, *others = (((s.float() - t.float()) ** 2).mean(1)[pair_mask].sum() for s, t in pairs)
    return sum(others, first) / len(student)


def teacher_layers(student_layers: int, n_teacher_layers: int) -> list[int]:
    """The teacher layer (1 is the first) that each of S student layers is compared with: round(i T / S)."""
    return [max(1, round(i * n_teacher_layers / student_layers)) for i in range(1, student_layers + 1)]
