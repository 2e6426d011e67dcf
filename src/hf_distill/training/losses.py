"""Loss terms, as sums over their items.

Every function returns the *sum*, over the items that its mask selects (words, subwords or query-key pairs), of the mean
error of an item. The trainer divides by the number of such items in the whole optimiser step, so that the gradient does
not depend on how the step is split into micro-batches and processes. All arithmetic is in fp32, or fp64.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..runtime.decoding import find_transitions
from ..teachers.compression import restore

# The most that a label's score counts as below the best of its word: products of two such are still no 0.
FARTHEST = {torch.float64: 300.0, torch.float32: 40.0}


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
    scores = student.float() / temperature, teacher.float() / temperature
    return _SequenceCrossEntropy.apply(*scores, mask, tuple(tags)) * temperature**2


class _SequenceCrossEntropy(torch.autograd.Function):
    """`sequence_cross_entropy` at temperature 1, whose gradient is a difference of probabilities."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, mask: Tensor, tags: tuple[str, ...]) -> Tensor:
        # Products in single precision may be in TF32, which is too coarse; Apple's GPUs have no other.
        precision = torch.float32 if student.device.type == "mps" else torch.float64
        with torch.autocast(student.device.type, enabled=False):
            logits = torch.cat([student, teacher]).to(precision).masked_fill(~mask.repeat(2, 1)[..., None], 0.0)
            logits = torch.maximum(logits, logits.amax(-1, keepdim=True) - FARTHEST[precision])
            log_partition, probabilities = _sum_over_sequences(logits, mask.repeat(2, 1), tags)
            own, target = probabilities.chunk(2)
            ctx.save_for_backward((own - target).float())
            return (log_partition.chunk(2)[0].sum() - (target * logits.chunk(2)[0]).sum()).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        [difference] = ctx.saved_tensors
        return gradients[0] * difference, None, None, None


def _sum_over_sequences(logits: Tensor, mask: Tensor, tags: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return the log of the summed exponentials of the scores of all valid tag sequences, [batch], and the probability
    of each label at each word, [batch, words, labels], by the forward-backward algorithm.

    `logits` [batch, words, labels] are 0 where `mask` is false. Both directions are gone through together, in few large
    operations for each word: small ones are what a GPU is slow at.
    """
    labels, ends, reached, stay = _steps(tags, logits.device, logits.dtype)
    scores = logits[..., labels]
    best = scores.amax(-1, keepdim=True)
    weights = torch.where(mask[..., None], (scores - best).exp(), stay)
    state = logits.new_zeros(2, len(logits), reached.shape[2])
    state[..., 0] = 1.0
    begins = ends[:, None].expand(2, len(logits), -1)
    states, sums = [state], []
    for weight in torch.stack([weights, weights.flip(1)]).permute(2, 0, 1, 3).contiguous():
        state = torch.bmm(state.gather(2, begins) * weight, reached)
        sums.append(state.sum(-1, keepdim=True))
        state = state / sums[-1]
        states.append(state)
    log_partition = torch.stack(sums)[:, 0].log().sum((0, 2)) + state[0, :, 0].log() + (best[..., 0] * mask).sum(1)
    before, after = torch.stack(states[:-1]).unbind(1)
    paths = before[..., ends[0]] * weights.transpose(0, 1) * after.flip(0)[..., ends[1]]
    paths = paths / paths.sum(-1, keepdim=True).clamp(min=torch.finfo(paths.dtype).tiny)
    probabilities = (paths @ F.one_hot(labels, logits.shape[-1]).to(paths)).transpose(0, 1)
    return log_partition, probabilities * mask[..., None]


@lru_cache(maxsize=16)
def _steps(tags: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The steps of `find_transitions`.

    Returns:
        The label of each step, [steps]; the state before each step, and the one after it, [2, steps]; whether a state
        is the one after a step, and the one before it, [2, steps, states]; and whether a step is the one that stays in
        state 0 behind a sentence, [steps].
    """
    transitions = find_transitions(tags)
    labels, *ends = (
        torch.tensor(each, device=device) for each in (transitions.labels, transitions.sources, transitions.targets)
    )
    sources, targets = (F.one_hot(each, len(transitions.first)).to(dtype) for each in ends)
    stay = F.one_hot((sources[:, 0] * targets[:, 0]).argmax(), len(sources)).to(dtype)
    return labels, torch.stack(ends), torch.stack([targets, sources]), stay


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
