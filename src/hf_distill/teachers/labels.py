"""Mapping of a teacher's labels to the student's labels, by name."""

from collections.abc import Sequence

import numpy as np

from ..runtime.tags import UserError, detect_scheme, entity_types, iob2_names, model_tags, normalise_tag

# Labels, in order, of the teacher of the *BioBERT Distillation* script, whose configuration has no label names.
SCRIPT_TEACHER_LABELS = ("PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")
LEAST_LOGIT = np.log(1e-6)  # least log-probability of a split in `iob2_to_iobes_logits`


def teacher_tags(config, given: Sequence[str] | None) -> list[str]:
    """Return the tags of a teacher's head.

    Taken from `given`, else from the configuration, else, for nine unnamed labels, from `SCRIPT_TEACHER_LABELS`.

    Raises:
        UserError: the number of given labels differs from the head's, or the labels' names are unknown.
    """
    if given:
        if len(given) != config.num_labels:
            raise UserError(
                f"--teacher_labels lists {len(given)} labels, but the teacher's head has {config.num_labels}."
            )
        return [normalise_tag(tag) for tag in given]
    tags = model_tags(config)
    if tags is None and config.num_labels == len(SCRIPT_TEACHER_LABELS):
        return list(SCRIPT_TEACHER_LABELS)
    if tags is None:
        raise UserError(
            f"The teacher's head has {config.num_labels} labels without names: list them, in order, with "
            "--teacher_labels (for example: --teacher_labels O B-GENE I-GENE E-GENE S-GENE)."
        )
    return tags


def label_map(teacher_tags: Sequence[str], student_tags: Sequence[str]) -> list[list[int]]:
    """Return, for each student tag, the teacher classes whose probabilities add up to it. Labels are matched by name.

    If the tag schemes differ, S is matched with B and E with I. (For an IOB2 teacher and an IOBES student,
    `iob2_to_iobes_logits` then separates them.) Teacher classes without a student tag (PAD, other entity types) are
    ignored.

    Raises:
        UserError: a student tag has no teacher class; the message lists the labels of both.
    """
    differ = detect_scheme(teacher_tags) != detect_scheme(student_tags)
    names, target = (list(iob2_names(tags).values()) if differ else list(tags) for tags in (teacher_tags, student_tags))
    mapping = [[index for index, name in enumerate(names) if name == tag] for tag in target]
    missing = [tag for tag, classes in zip(student_tags, mapping, strict=True) if not classes]
    if missing:
        lists = f"teacher labels: {', '.join(teacher_tags)}; student labels: {', '.join(student_tags)}."
        raise UserError(
            f"The teacher has no label for {', '.join(missing)} ({lists}) If its labels have other names, give "
            "the student's names for them, in the order of its head, with --teacher_labels."
        )
    return mapping


def iob2_to_iobes_logits(logits: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """Convert an IOB2 teacher's logits of a sentence to IOBES.

    The probability of B is split between B and S, and that of I between I and E, by the probability that the next word
    is I. This assumes that the tags of neighbouring words are independent.

    Args:
        logits: [words, labels] of one whole sentence, in which S has the logit of B, and E that of I.
        tags: the IOBES tag of each label id.

    Returns:
        Log-probabilities [words, labels].
    """
    label_ids = {tag: index for index, tag in enumerate(tags)}
    distinct = logits[:, [index for tag, index in label_ids.items() if tag[0] not in "ES"]]
    log_probabilities = logits - np.logaddexp.reduce(distinct, axis=-1, keepdims=True)
    split = log_probabilities.copy()
    for entity in entity_types(tags):
        begin, inside, end, single = (label_ids[f"{prefix}-{entity}"] for prefix in "BIES")
        continues = np.append(log_probabilities[1:, inside], -np.inf).clip(LEAST_LOGIT, -np.exp(LEAST_LOGIT))
        ends = np.log1p(-np.exp(continues))
        split[:, [begin, inside]] += continues[:, None]
        split[:, [single, end]] += ends[:, None]
    return split
