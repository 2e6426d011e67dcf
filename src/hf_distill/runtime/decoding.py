"""Constrained decoding: the most probable valid tag sequence.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .tags import OUTSIDE, detect_scheme

BATCH_WORDS = 8192


class Transitions(NamedTuple):
    """Which label may follow which, in O(labels): all that counts of a path is the state that its last label leads to.

    State 0: no mention is open, or none that has to go on; a sentence begins and ends here. The others: in a mention of
    one entity type that may go on. A step is a label together with a state that it leads to; steps are sorted by this
    state, then by label. (IOB2's B- and I- lead to two: the mention may end or go on.)

    Attributes:
        labels: the label of each step, [steps].
        sources: the state before each step, [steps].
        first: index of the first step to each state, [states].
        reached: whether a step leads to a state, [states, steps].
        targets: the state that each step leads to, [steps].
        by_source: the steps sorted by the state before them, [steps].
        first_by_source: index in `by_source` of the first step from each state, [states].
    """

    labels: np.ndarray
    sources: np.ndarray
    first: np.ndarray
    reached: np.ndarray
    targets: np.ndarray
    by_source: np.ndarray
    first_by_source: np.ndarray


@lru_cache(maxsize=16)
def find_transitions(tags: tuple[str, ...]) -> Transitions:
    """Return the transitions between labels that `tags.can_follow` allows, given the tag of each label."""
    scheme = detect_scheme(tags)
    parts = [tag.partition("-")[::2] for tag in tags]
    # Of an open mention a tag has to go on.
    goes_on = {entity for prefix, entity in parts if prefix in ("I", "E")}
    opened = dict.fromkeys(entity for prefix, entity in parts if prefix in ("B", "I") and entity in goes_on)
    states = {entity: state for state, entity in enumerate(opened, 1)}
    steps = []  # target, label, source
    for label, (prefix, entity) in enumerate(parts):
        if prefix not in (OUTSIDE, "B", "S") and not (prefix in ("I", "E") and entity in states):
            continue  # no valid sequence has it
        source = states[entity] if prefix in ("I", "E") else 0
        if prefix in ("B", "I") and entity in states:
            steps.append((states[entity], label, source))
        if prefix not in ("B", "I") or scheme == "IOB2":
            steps.append((0, label, source))
    targets, labels, sources = np.array(sorted(steps), dtype=np.int64).T
    reached = np.arange(1 + len(states))[:, None] == targets
    by_source = np.argsort(sources, kind="stable")
    first_by_source = np.searchsorted(sources[by_source], np.arange(1 + len(states)))
    return Transitions(labels, sources, reached.argmax(1), reached, targets, by_source, first_by_source)


class Batch(NamedTuple):
    """Sentences that are gone through together, place by place, the longest first.

    Those that have a word at some place are then the first ones.

    Attributes:
        numbers: index of each sentence among all.
        lengths: its words.
        by_place: the rows of all words, sentence after sentence, in the order of their places.
        places: begin and end of each place in that order.
        weights: of each step at each word, in that order, [words, steps] (fp64).
    """

    numbers: np.ndarray
    lengths: np.ndarray
    by_place: np.ndarray
    places: list[tuple[int, int]]
    weights: np.ndarray


def make_batches(logits: Sequence[np.ndarray], steps: np.ndarray) -> Iterator[Batch]:
    """Yield batches of about BATCH_WORDS words; sentences without words are left out."""
    lengths = np.array([len(scores) for scores in logits], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    ends = np.cumsum(lengths[order])
    for numbers in np.split(order, np.flatnonzero(np.diff(ends // BATCH_WORDS)) + 1) if len(order) else []:
        places = np.concatenate([np.arange(length) for length in lengths[numbers]])
        by_place = np.argsort(places, kind="stable")
        bounds = np.cumsum(np.bincount(places)).tolist()
        weights = np.concatenate([logits[number] for number in numbers])[by_place[:, None], steps].astype(np.float64)
        yield Batch(numbers, lengths[numbers], by_place, list(pairwise([0, *bounds])), weights)


def constrained_decode(logits: Sequence[np.ndarray], tags: Sequence[str]) -> list[list[int]]:
    """Decode the most probable valid tag sequence of each sentence (Viterbi without trained transitions).

    Args:
        logits: one array [words, labels] per sentence.
        tags: the tag of each label id; their scheme defines the valid sequences.

    Returns:
        One list of label ids per sentence.
    """
    transitions = find_transitions(tuple(tags))
    decoded: list[list[int]] = [[] for _ in logits]
    for batch in make_batches(logits, transitions.labels):
        labels = _decode_batch(batch, transitions)
        for number, own in zip(batch.numbers, np.split(labels, np.cumsum(batch.lengths)[:-1]), strict=True):
            decoded[number] = own.tolist()
    return decoded


def _decode_batch(batch: Batch, transitions: Transitions) -> np.ndarray:
    """Return the label of each word."""
    steps, sources, first, reached = transitions[:4]
    # Raw logits suffice: a softmax per word would shift the scores of all paths equally.
    paths = batch.weights
    values = np.full((len(batch.numbers), len(first)), -np.inf)  # of the best path to each state
    values[:, 0] = 0.0
    for begin, end in batch.places:
        best = paths[begin:end]  # the best path to each step
        best += values[: end - begin].take(sources, axis=1)
        values = np.maximum.reduceat(best, first, axis=1)
    chosen = np.empty(len(paths), dtype=np.int64)
    state = np.zeros(len(batch.numbers), dtype=np.int64)  # after the word: 0 at each sentence's end
    for begin, end in reversed(batch.places):
        own = state[: end - begin]
        best = np.where(reached.take(own, axis=0), paths[begin:end], -np.inf).argmax(1)
        chosen[begin:end] = best
        sources.take(best, out=own)
    labels = np.empty(len(paths), dtype=np.int64)
    labels[batch.by_place] = steps[chosen]
    return labels
