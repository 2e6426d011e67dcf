"""From a teacher's labels to the student's, by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
            "--teacher_labels (for example: --teacher_labels O B-GENE I-GENE E-GENE S-GENE). If it is an encoder that "
            "was not fine-tuned yet: --do_train_teacher 1."
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

    Examples:
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
        if not self._decides:
            return self._convert(logits, torch.zeros(logits.shape[:-1], device=logits.device))
        words = logits.shape[-2]
        scores = logits.cpu().numpy().reshape(-1, words, len(self.head))
        lengths = [words] * len(scores) if mask is None else mask.sum(-1).flatten().tolist()
        decided = self._decide([own[:length] for own, length in zip(scores, lengths, strict=True)])
        padded = [np.pad(own, (0, words - len(own)), constant_values=self.head.index(OUTSIDE)) for own in decided]
        return self._convert(logits, torch.from_numpy(np.stack(padded)).view(logits.shape[:-1]).to(logits.device))

    def convert(self, sentences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Convert the logits of each sentence, [words, classes], as a call does."""
        decided = self._decide(sentences)
        # Sentences of equal length form a batch: padding to the longest would take its memory for every one.
        by_length: dict[int, list[int]] = {}
        for number, scores in enumerate(sentences):
            by_length.setdefault(len(scores), []).append(number)
        converted: list[np.ndarray] = [np.empty((0, len(self.tags)), dtype=np.float32)] * len(sentences)
        for length, numbers in by_length.items():
            if length:
                own = (np.stack([each[number] for number in numbers]) for each in (sentences, decided))
                for number, scores in zip(numbers, self._convert(*map(torch.from_numpy, own)).numpy(), strict=True):
                    converted[number] = scores
        return converted

    @property
    def _decides(self) -> bool:
        """Whether it counts what the head decides on."""
        return bool(self.foreign or self.neighbours)

    def _decide(self, sentences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The head's class for each word, [words] of each sentence, decoded in its own scheme; zeros if none counts."""
        if not self._decides:
            return [np.zeros(len(own), dtype=np.int64) for own in sentences]
        if self.neighbours == "IOB1":
            no_tag = np.array([tag != OUTSIDE and "-" not in tag for tag in self.head])
            return [np.where(no_tag, -np.inf, own).argmax(-1) for own in sentences]
        return [np.array(labels, dtype=np.int64) for labels in constrained_decode(sentences, self.head)]

    def _convert(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Convert logits [..., words, classes], given the class that is decided for each word, [..., words]."""
        # One column more for what no class stands for, and one that adds nothing.
        none = logits.logsumexp(-1, keepdim=True) + math.log(LEAST)
        padded = torch.cat([logits, none, torch.full_like(none, -math.inf)], -1)
        labels = padded[..., self._columns.to(logits.device)].logsumexp(-1)
        if self.foreign:
            outside = self.tags.index(OUTSIDE)
            more = torch.logaddexp(labels[..., outside], logits[..., self.foreign].logsumexp(-1))
            elsewhere = torch.isin(decided, torch.tensor(self.foreign, device=logits.device))
            labels[..., outside] = torch.where(elsewhere, more, labels[..., outside])
        return self._split(labels, decided) if self.neighbours else labels

    @cached_property
    def _columns(self) -> Tensor:
        """For each label its classes, [labels, classes]; where there are none, or fewer, columns behind them."""
        rows = [classes or (len(self.head),) for classes in self.classes]
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[len(self.head) + 1] * (longest - len(row))] for row in rows])

    def _split(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Log-probabilities of labels that the neighbours decide; `logits` gives S- the logit of B-, E- that of I-."""
        ids = {tag: index for index, tag in enumerate(self.tags)}
        types = entity_types(self.tags)
        distinct = [index for tag, index in ids.items() if tag[0] not in _IN_PLACE_OF]
        log_p = logits - logits[..., distinct].logsumexp(-1, keepdim=True)
        split = log_p.clone()

        def labels(letter: str) -> list[int]:
            return [ids[f"{letter}-{entity}"] for entity in types]

        def decided_for(letters: str, shift: int) -> Tensor:
            """Whether the word before (shift 1) or after (-1) has such a tag, for each entity type: nearly 0 or 1."""
            found = [tag.partition("-") for tag in self.head]
            entity = [types.index(name) if letter in letters and name in types else -1 for letter, _, name in found]
            entities = torch.tensor(entity, device=logits.device)[decided]
            beside = torch.roll(entities, shift, -1)[..., None] == torch.arange(len(types), device=logits.device)
            beside[..., 0 if shift > 0 else -1, :] = False
            return beside.float().clamp(LEAST, 1 - LEAST)

        begins, continues = log_p[..., labels("B")], log_p[..., labels("I")]
        if self.neighbours == "IOB1":
            before = decided_for("BI", 1)
            begins = torch.logaddexp(begins, continues + (1 - before).log())
            continues = continues + before.log()
        if any(tag.startswith("S-") for tag in ids):
            after = decided_for("I", -1)
            split[..., labels("S")], split[..., labels("E")] = begins + (1 - after).log(), continues + (1 - after).log()
            begins, continues = begins + after.log(), continues + after.log()
        split[..., labels("B")], split[..., labels("I")] = begins, continues
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
