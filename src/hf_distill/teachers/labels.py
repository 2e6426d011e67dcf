"""From a teacher's labels to the student's, by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.tag_format import TagFormat, differing_in_case
from ..runtime.decoding import constrained_decode
from ..runtime.schemes import head_tags, model_tags
from ..runtime.tags import OUTSIDE, UserError, entity_types

# Labels, in order, of the teacher of the *BioBERT Distillation* script, whose configuration has no label names.
SCRIPT_TEACHER_LABELS = ("PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")
LEAST = 1e-3  # least probability of what no class stands for, and of what the neighbours of a word decide
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
    it do, by the tags that the head decides on for them (the best valid sequence; word by word in IOB1 and IO, where
    all are valid). With X for an entity type:

    - in IOB2, B-X begins a mention and I-X continues it; in IOB1 and IO, I-X also begins one, unless the word before is
      of a mention of X;
    - the mention goes on if the next word has I-X, else it ends.

    So the student's best valid sequence is the head's.

    Where the head finds a mention of an entity type that the student does not have, the probability of such types
    counts as O; elsewhere it is left out.

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
        if not self.foreign and not self.neighbours:
            return torch.stack(merged, -1)
        decided = self._decide(logits, mask)
        if self.foreign:
            outside = self.tags.index(OUTSIDE)
            more = torch.logaddexp(merged[outside], logits[..., self.foreign].logsumexp(-1))
            elsewhere = torch.isin(decided, torch.tensor(self.foreign, device=logits.device))
            merged[outside] = torch.where(elsewhere, more, merged[outside])
        labels = torch.stack(merged, -1)
        return self._split(labels, decided) if self.neighbours else labels

    def convert(self, sentences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Convert the logits of each sentence, [words, classes], as a call does."""
        # Sentences of equal length form a batch: padding to the longest would take its memory for every one.
        by_length: dict[int, list[int]] = {}
        for number, scores in enumerate(sentences):
            by_length.setdefault(len(scores), []).append(number)
        converted: list[np.ndarray] = [np.empty((0, len(self.tags)), dtype=np.float32)] * len(sentences)
        for length, numbers in by_length.items():
            if length:
                batch = self(torch.from_numpy(np.stack([sentences[number] for number in numbers]))).numpy()
                for number, scores in zip(numbers, batch, strict=True):
                    converted[number] = scores
        return converted

    def _decide(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        """The head's class for each word, [..., words], decoded in its own scheme; O for words that are not real."""
        words = logits.shape[-2]
        scores = logits.cpu().numpy().reshape(-1, words, len(self.head))
        lengths = [words] * len(scores) if mask is None else mask.sum(-1).flatten().tolist()
        sentences = [own[:length] for own, length in zip(scores, lengths, strict=True)]
        if self.neighbours == "IOB1":
            no_tag = np.array([tag != OUTSIDE and "-" not in tag for tag in self.head])
            decoded = [np.where(no_tag, -np.inf, own).argmax(-1).tolist() for own in sentences]
        else:
            decoded = constrained_decode(sentences, self.head)
        padding = [self.head.index(OUTSIDE)] * words
        decided = torch.tensor([(labels + padding)[:words] for labels in decoded], dtype=torch.long)
        return decided.view(logits.shape[:-1]).to(logits.device)

    def _split(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Log-probabilities of labels that the neighbours decide; `logits` gives S- the logit of B-, E- that of I-."""
        ids = {tag: index for index, tag in enumerate(self.tags)}
        distinct = [index for tag, index in ids.items() if tag[0] not in _IN_PLACE_OF]
        log_p = logits - logits[..., distinct].logsumexp(-1, keepdim=True)
        split = log_p.clone()

        def decided_for(tags: Sequence[str]) -> Tensor:
            return torch.tensor([tag in tags for tag in self.head], device=logits.device)[decided]

        for entity in entity_types(self.tags):
            begins, continues = (log_p[..., ids[f"{letter}-{entity}"]] for letter in "BI")
            if self.neighbours == "IOB1":
                before = decided_for([f"B-{entity}", f"I-{entity}"])
                before = torch.nn.functional.pad(before[..., :-1], (1, 0)).float().clamp(LEAST, 1 - LEAST)
                begins = torch.logaddexp(begins, continues + (1 - before).log())
                continues = continues + before.log()
            after = decided_for([f"I-{entity}"])
            after = torch.nn.functional.pad(after[..., 1:], (0, 1)).float().clamp(LEAST, 1 - LEAST)
            if f"S-{entity}" in ids:
                split[..., ids[f"B-{entity}"]] = begins + after.log()
                split[..., ids[f"S-{entity}"]] = begins + (1 - after).log()
                split[..., ids[f"I-{entity}"]] = continues + after.log()
                split[..., ids[f"E-{entity}"]] = continues + (1 - after).log()
            else:
                split[..., ids[f"B-{entity}"]] = begins
                split[..., ids[f"I-{entity}"]] = continues
        return split


def is_undecided(tags: Sequence[str]) -> bool:
    """Whether a head has B- and I- alone, so that only its use tells IOB1 from IOB2."""
    return {tag[0] for tag in tags if "-" in tag} == {"B", "I"}


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
    if OUTSIDE not in teacher_tags:
        raise UserError(f"No label is O, for words outside of mentions: {', '.join(teacher_tags)}.")
    if missing:
        hints = [f"{other}={one}" for one, other in differing_in_case(missing, teacher_types)]
        rename = f"--rename_types {' '.join(hints)}" if hints else "--rename_types OLD=NEW"
        raise UserError(
            f"The teacher has no label for {', '.join(missing)} ({lists}) If it has the same under another "
            f"name: {rename}; or give the student's names for its labels, in the order of its head, with "
            "--teacher_labels."
        )
    foreign = tuple(
        index for index, tag in enumerate(teacher_tags) if "-" in tag and tag.partition("-")[2] not in types
    )
    if begins_inside is None:
        begins_inside = not any(tag.startswith("B-") for tag in teacher_tags)
    neighbours = None
    if not whole and (begins_inside or to_iobes):
        neighbours = "IOB1" if begins_inside else "IOB2"
    return LabelMap(tuple(teacher_tags), tuple(student_tags), matched, foreign, neighbours)
