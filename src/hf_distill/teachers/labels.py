"""From a teacher's labels to the student's, by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.tag_format import TagFormat, differing_in_case
from ..runtime.schemes import head_tags, model_tags
from ..runtime.tags import OUTSIDE, UserError, entity_types

# Labels, in order, of the teacher of the *BioBERT Distillation* script, whose configuration has no label names.
SCRIPT_TEACHER_LABELS = ("PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")
LEAST = 1e-6  # least probability of what no class stands for, and of what the neighbours of a word decide
# What a head without the tag on the left says in its place.
_IN_PLACE_OF = {"S": "B", "E": "I"}


def teacher_tags(config, given: Sequence[str] | None, tag_format: TagFormat) -> list[str]:
    """Return the tag of each class of a teacher's head; classes that are no tags, such as PAD, keep their names.

    Taken from `given`, else from the configuration, else, for nine unnamed labels, from `SCRIPT_TEACHER_LABELS`.

    Raises:
        UserError: the number of given labels differs from the head's, or the labels' names cannot be read.
    """
    if given and len(given) != config.num_labels:
        raise UserError(f"--teacher_labels lists {len(given)} labels, but the teacher's head has {config.num_labels}.")
    if given:
        tags: Sequence[str] | None = head_tags(given, tag_format.scheme, tag_format.entity_type)
    else:
        tags = model_tags(config, tag_format.scheme, tag_format.entity_type)
    if tags is None and config.num_labels == len(SCRIPT_TEACHER_LABELS):
        tags = SCRIPT_TEACHER_LABELS
    if tags is None:
        raise UserError(
            f"The teacher's head has {config.num_labels} labels without names: list them, in order, with "
            "--teacher_labels (for example: --teacher_labels O B-GENE I-GENE E-GENE S-GENE)."
        )
    return [tag_format.rename(tag) for tag in tags]


@dataclass(frozen=True)
class LabelMap:
    """How the probabilities of a head's classes become those of the student's labels.

    A head with tags of IOBES gives each student label the classes of the same name. A head that has only B- and I-
    (IOB2, IOB1) or only I- (IO, bare entity types) does not say where a mention ends, or even begins: the words beside
    it do. Taking the tags of neighbouring words for independent, with X for an entity type:

    - a mention goes on at the next word with the probability that this has I-X, else it ends;
    - in IOB2, a word with B-X begins a mention, and one with I-X continues it;
    - in IOB1 and IO, a word with I-X continues a mention with the probability that the word before has B-X or I-X, else
      it begins one.

    Of classes of entity types that the student does not have, the probability is left out; but where such a class is
    the most probable one, it counts as O.

    Attributes:
        head: the tag of each of the head's classes.
        tags: the student's labels.
        classes: for each of them, the head's classes that stand for it.
        foreign: the classes of other entity types.
        neighbours: the head's scheme, IOB2 or IOB1 (IO, too), if the words beside it count; else None.

    Example:
        >>> match_labels(["O", "B-GENE", "I-GENE"], ["O", "B-GENE", "I-GENE", "E-GENE", "S-GENE"]).classes
        ((0,), (1,), (2,), (2,), (1,))
    """

    head: tuple[str, ...]
    tags: tuple[str, ...]
    classes: tuple[tuple[int, ...], ...]
    foreign: tuple[int, ...] = ()
    neighbours: str | None = None

    def __call__(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convert the logits of whole sentences.

        Args:
            logits: the head's, [..., words, classes].
            mask: which of the words are real, [..., words]; None for all.

        Returns:
            Logits, or with `neighbours` log-probabilities, [..., words, labels].
        """
        empty = logits.logsumexp(-1) + math.log(LEAST)
        merged = [logits[..., classes].logsumexp(-1) if classes else empty for classes in self.classes]
        if self.foreign:
            outside = self.tags.index(OUTSIDE)
            mass = logits[..., self.foreign].logsumexp(-1)
            own = [index for classes in self.classes for index in classes]
            most = logits[..., self.foreign].amax(-1) > logits[..., own].amax(-1)
            merged[outside] = torch.where(most, torch.logaddexp(merged[outside], mass), merged[outside])
        labels = torch.stack(merged, -1)
        return self._split(labels, mask) if self.neighbours else labels

    def convert(self, sentences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Convert the logits of each sentence, [words, classes], as a call does."""
        if not sentences:
            return []
        logits = pad_sequence([torch.from_numpy(scores) for scores in sentences], batch_first=True)
        mask = pad_sequence([torch.ones(len(scores), dtype=torch.bool) for scores in sentences], batch_first=True)
        converted = self(logits, mask).numpy()
        return [scores[: len(own)] for scores, own in zip(converted, sentences, strict=True)]

    def _split(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        """Log-probabilities of labels that the neighbours decide; `logits` gives S- the logit of B-, E- that of I-."""
        ids = {tag: index for index, tag in enumerate(self.tags)}
        distinct = [index for tag, index in ids.items() if tag[0] not in _IN_PLACE_OF]
        log_p = logits - logits[..., distinct].logsumexp(-1, keepdim=True)
        split = log_p.clone()
        for entity in entity_types(self.tags):
            begin, inside = (log_p[..., ids[f"{letter}-{entity}"]] for letter in "BI")
            within, goes_on = torch.logaddexp(begin, inside).exp(), inside.exp()
            if mask is not None:
                within, goes_on = within * mask, goes_on * mask
            # Probabilities that the word before is in a mention of this type, and that the next one continues one.
            before = torch.nn.functional.pad(within[..., :-1], (1, 0)).clamp(LEAST, 1 - LEAST)
            after = torch.nn.functional.pad(goes_on[..., 1:], (0, 1)).clamp(LEAST, 1 - LEAST)
            begins, continues = begin, inside
            if self.neighbours == "IOB1":
                begins = torch.logaddexp(begin, inside + (1 - before).log())
                continues = inside + before.log()
            if f"S-{entity}" in ids:
                split[..., ids[f"B-{entity}"]] = begins + after.log()
                split[..., ids[f"S-{entity}"]] = begins + (1 - after).log()
                split[..., ids[f"I-{entity}"]] = continues + after.log()
                split[..., ids[f"E-{entity}"]] = continues + (1 - after).log()
            else:
                split[..., ids[f"B-{entity}"]] = begins
                split[..., ids[f"I-{entity}"]] = continues
        return split


def begins_with_inside(logits: Sequence[np.ndarray], tags: Sequence[str]) -> bool:
    """Whether a head with B- and I- begins most mentions with I-, as in IOB1.

    Args:
        logits: the head's, [words, classes] of each sentence.
        tags: the tag of each class.
    """
    counts = {"B": 0, "I": 0}
    for scores in logits:
        best = [tags[index] for index in scores.argmax(-1)]
        for previous, tag in zip([OUTSIDE, *best], best, strict=False):
            if tag[:2] in ("B-", "I-") and (tag[0] == "B" or previous[1:] != tag[1:]):
                counts[tag[0]] += 1
    return counts["I"] > counts["B"]


def match_labels(
    teacher_tags: Sequence[str], student_tags: Sequence[str], begins_inside: bool | None = None
) -> LabelMap:
    """Match a head's tags to the student's by name.

    Args:
        teacher_tags: the tag of each of the head's classes.
        student_tags: the student's labels.
        begins_inside: whether I- begins mentions in a head without E- and S-; None: if it has no B-.

    Raises:
        UserError: the head has no O, or lacks an entity type of the student; the message lists the labels of both.
    """
    whole = any(tag[:2] in ("E-", "S-") for tag in teacher_tags)
    to_iobes = any(tag[:2] in ("E-", "S-") for tag in student_tags)

    def classes(tag: str) -> tuple[int, ...]:
        letter, entity = tag[:1], tag[1:]
        names = {tag} if whole or letter not in _IN_PLACE_OF else {_IN_PLACE_OF[letter] + entity}
        if whole and not to_iobes:  # an IOB2 student: B- is also a mention of one word, I- also its last word
            names |= {other + entity for other, one in _IN_PLACE_OF.items() if one == letter}
        return tuple(index for index, name in enumerate(teacher_tags) if name in names)

    matched = tuple(classes(tag) for tag in student_tags)
    types, teacher_types = entity_types(student_tags), entity_types(teacher_tags)
    lists = f"teacher labels: {', '.join(teacher_tags)}; student labels: {', '.join(student_tags)}."
    missing = [entity for entity in types if entity not in teacher_types]
    if missing or OUTSIDE not in teacher_tags:
        hints = [f"{other}={one}" for one, other in differing_in_case(missing, teacher_types)]
        rename = f"--rename_types {' '.join(hints)}" if hints else "--rename_types OLD=NEW"
        raise UserError(
            f"The teacher has no label for {', '.join(missing) or OUTSIDE} ({lists}) If it has the same under another "
            f"name: {rename}; or give the student's names for its labels, in the order of its head, with "
            "--teacher_labels."
        )
    unmatched = [tag for tag, found in zip(student_tags, matched, strict=True) if not found]
    if whole and unmatched:
        raise UserError(f"The teacher has no label for {', '.join(unmatched)} ({lists})")
    foreign = tuple(
        index for index, tag in enumerate(teacher_tags) if "-" in tag and tag.partition("-")[2] not in types
    )
    if begins_inside is None:
        begins_inside = not any(tag.startswith("B-") for tag in teacher_tags)
    neighbours = None
    if not whole and (begins_inside or to_iobes):
        neighbours = "IOB1" if begins_inside else "IOB2"
    return LabelMap(tuple(teacher_tags), tuple(student_tags), matched, foreign, neighbours)
