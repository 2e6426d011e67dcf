"""Tag schemes, label names and constrained decoding.

Tags are text: `O` or a prefix, a hyphen and an entity type. Two schemes are known: IOB2 (`B-` begins a mention, `I-`
continues it) and IOBES (`S-` is a mention of one word, `E-` the last word of a longer one). Every valid sequence of one
scheme has exactly one counterpart in the other, because both spell out the same mentions.
"""

from collections.abc import Iterable, Sequence

import numpy as np

SCHEMES = ("IOB2", "IOBES")
PREFIXES = {"IOB2": ("B", "I"), "IOBES": ("B", "I", "E", "S")}
OUTSIDE = "O"
LEAST_LOGIT = np.log(1e-6)  # of what `share_out` gives to a tag's part

# Corpora of the MTL-Bioinformatics-2016 family name the same kind of thing in several ways.
ENTITY_ALIASES = {
    "PROTEIN": "GENE",
    "GGP": "GENE",
    "CL": "CELL_TYPE",
    "CHEBI": "CHEMICAL",
    "SPECIES": "TAXON",
    "CELLLINE": "CELL_LINE",
}

# The order of the reference teacher's head, which carries no names.
REFERENCE_TEACHER_LABELS = ("PAD", "START", "END", "UNK", "O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")

# Which tag may follow which prefix inside one mention; everything else has to begin anew.
_CONTINUES = {"IOB2": {"B": "I", "I": "I"}, "IOBES": {"B": "IE", "I": "IE"}}


class UserError(ValueError):
    """Something the user can put right. The command line prints its message alone, without a traceback."""


def normalise_tag(tag: str) -> str:
    """Upper-case the entity type of a tag and replace a known alias, so that `B-protein` becomes `B-GENE`."""
    prefix, hyphen, entity = tag.partition("-")
    entity = entity.upper()
    return f"{prefix}{hyphen}{ENTITY_ALIASES.get(entity, entity)}"


def entity_types(tags: Iterable[str]) -> list[str]:
    """The distinct entity types of the tags, sorted."""
    return sorted({tag.partition("-")[2] for tag in tags if "-" in tag})


def make_tags(types: Iterable[str], scheme: str) -> list[str]:
    """The label list of a model: `O`, then each type's tags in the scheme's order."""
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in types for prefix in PREFIXES[scheme])]


def detect_scheme(tags: Iterable[str]) -> str:
    """IOBES if any tag has the prefix E or S, else IOB2. (A valid IOBES text with a mention always has one.)"""
    return "IOBES" if any(tag[:2] in ("E-", "S-") for tag in tags) else "IOB2"


def can_follow(previous: str, tag: str, scheme: str) -> bool:
    """Whether `tag` may stand right after `previous`. `O` stands for both ends of a sentence."""
    prefix, _, entity = tag.partition("-")
    previous_prefix, _, previous_entity = previous.partition("-")
    allowed = _CONTINUES[scheme].get(previous_prefix, "")
    if prefix in allowed and entity == previous_entity and prefix in ("I", "E"):
        return True
    # A new mention or O: fine unless the previous mention has to go on (IOBES closes each with E or S).
    return prefix in ("O", "B", "S") and not (scheme == "IOBES" and previous_prefix in ("B", "I"))


def find_invalid(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """The first fault of a tag sequence.

    Returns:
        None for a valid sequence, else (index, what is wrong). For a mention that is never finished the index is that
        of its `B-` tag; for a tag that continues nothing, its own.
    """
    begin = 0
    for index, (previous, tag) in enumerate(zip([OUTSIDE, *tags], [*tags, OUTSIDE], strict=True)):
        if not can_follow(previous, tag, scheme):
            if scheme == "IOBES" and previous[0] in "BI":
                return begin, f"the mention that begins here with {tags[begin]} is not finished by an E- tag"
            return index, f"{tag} continues no mention (the tag before it is {previous if index else 'none'})"
        if tag[0] in "BS":
            begin = index
    return None


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Mentions (entity type, first word, last word + 1) of a valid sequence in either scheme."""
    found: list[tuple[str, int, int]] = []
    for index, tag in enumerate(tags):
        prefix, _, entity = tag.partition("-")
        if prefix in ("B", "S"):
            found.append((entity, index, index + 1))
        elif prefix in ("I", "E"):
            found[-1] = (entity, found[-1][1], index + 1)
    return found


def convert_tags(tags: Sequence[str], scheme: str) -> list[str]:
    """Rewrite a valid tag sequence of either scheme in `scheme`. Exact: the mentions stay the same."""
    converted = [OUTSIDE] * len(tags)
    for entity, start, end in spans(tags):
        prefixes = ["B"] + ["I"] * (end - start - 1)
        if scheme == "IOBES":
            prefixes[-1] = "E" if end - start > 1 else "S"
        converted[start:end] = [f"{prefix}-{entity}" for prefix in prefixes]
    return converted


def iob2_names(tags: Sequence[str]) -> dict[int, str]:
    """`id2label` for a saved model: each class under its IOB2 name, since stock pipelines read only B- and I-."""
    iob2 = {"S-": "B-", "E-": "I-"}
    return {index: iob2.get(tag[:2], tag[:2]) + tag[2:] for index, tag in enumerate(tags)}


def model_tags(config) -> list[str] | None:
    """The true tags of a model, normalised and in the order of its head; None if its head has no names.

    A student saved by this package keeps them in `config.tags`, because its `id2label` shows IOB2 names.
    """
    tags = getattr(config, "tags", None) or [config.id2label[index] for index in range(config.num_labels)]
    if all(tag == f"LABEL_{index}" for index, tag in enumerate(tags)):
        return None
    return [normalise_tag(tag) for tag in tags]


def label_map(teacher_tags: Sequence[str], student_tags: Sequence[str]) -> list[list[int]]:
    """For each student tag, the teacher's classes whose probabilities add up to it. Labels meet by name.

    An IOBES teacher serves an IOB2 student: S counts as B, and E as I. With an IOB2 teacher, an IOBES student's S has
    the class of its B, and E that of I (`share_out` tells them apart). Classes that are no student tag (PAD, or an
    entity type that the corpus lacks) are left out.

    Raises:
        UserError: a student tag has no counterpart, with both label lists.
    """
    differ = detect_scheme(teacher_tags) != detect_scheme(student_tags)
    names, wanted = (list(iob2_names(tags).values()) if differ else list(tags) for tags in (teacher_tags, student_tags))
    mapping = [[index for index, name in enumerate(names) if name == tag] for tag in wanted]
    missing = [tag for tag, classes in zip(student_tags, mapping, strict=True) if not classes]
    if missing:
        lists = f"teacher labels: {', '.join(teacher_tags)}; student labels: {', '.join(student_tags)}."
        raise UserError(
            f"The teacher has no label for {', '.join(missing)} ({lists}) If its labels go by other names, list them "
            "in the order of its head with --teacher_labels."
        )
    return mapping


def share_out(logits: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """What an IOB2 teacher says of a sentence's words, for an IOBES student.

    A mention ends where the next word does not continue it. So the teacher's probability of B is shared out between B
    and S, and that of I between I and E, by its probability that the next word is I, as if words were independent.

    Args:
        logits: [words, labels] of all words of a sentence; S has the logit of B, and E that of I.
        tags: the labels' tags, in IOBES.

    Returns:
        [words, labels] logarithms of probabilities that add up to 1.
    """
    place = {tag: index for index, tag in enumerate(tags)}
    distinct = logits[:, [index for tag, index in place.items() if tag[0] not in "ES"]]
    answers = logits - np.logaddexp.reduce(distinct, axis=-1, keepdims=True)
    shared = answers.copy()
    for entity in entity_types(tags):
        begin, inside, end, single = (place[f"{prefix}-{entity}"] for prefix in "BIES")
        following = np.append(answers[1:, inside], -np.inf).clip(LEAST_LOGIT, -np.exp(LEAST_LOGIT))
        last = np.log1p(-np.exp(following))
        shared[:, [begin, inside]] += following[:, None]
        shared[:, [single, end]] += last[:, None]
    return shared


def transition_scores(tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start [L], step [L, L], end [L]) of 0 for what the tags' scheme allows and -inf for what it forbids."""
    scheme = detect_scheme(tags)
    start = [can_follow(OUTSIDE, tag, scheme) for tag in tags]
    step = [[can_follow(previous, tag, scheme) for tag in tags] for previous in tags]
    end = [can_follow(tag, OUTSIDE, scheme) for tag in tags]
    return tuple(np.where(allowed, 0.0, -np.inf) for allowed in (start, step, end))


def constrained_decode(logits: Sequence[np.ndarray], tags: Sequence[str]) -> list[list[int]]:
    """The most probable valid tag sequence of each sentence (Viterbi, nothing trained).

    Args:
        logits: one array [words, labels] per sentence.
        tags: the labels' tags; their scheme decides what may follow what.

    Returns:
        One list of label ids per sentence.
    """
    start, step, end = transition_scores(tags)
    decoded: list[list[int]] = [[] for _ in logits]
    # Sentences of one length are decoded together.
    by_length: dict[int, list[int]] = {}
    for number, scores in enumerate(logits):
        by_length.setdefault(len(scores), []).append(number)
    for words, numbers in by_length.items():
        if not words:
            continue
        # Normalising each word's scores would shift all paths alike, so raw logits do.
        scores = np.stack([logits[number] for number in numbers])
        best = start + scores[:, 0]
        back = np.zeros(scores.shape, dtype=np.int64)
        for word in range(1, words):
            paths = best[:, :, None] + step
            back[:, word] = paths.argmax(axis=1)
            best = paths.max(axis=1) + scores[:, word]
        path = np.zeros(scores.shape[:2], dtype=np.int64)
        path[:, -1] = (best + end).argmax(axis=1)
        rows = np.arange(len(numbers))
        for word in range(words - 1, 0, -1):
            path[:, word - 1] = back[rows, word, path[:, word]]
        for number, labels in zip(numbers, path.tolist(), strict=True):
            decoded[number] = labels
    return decoded


def teacher_tags(config, given: Sequence[str] | None) -> list[str]:
    """The tags of a teacher's head: as given, else as its configuration names them, else the reference's nine.

    Raises:
        UserError: the number of labels does not fit the head, or a head without names is not the reference's.
    """
    if given:
        if len(given) != config.num_labels:
            raise UserError(
                f"--teacher_labels lists {len(given)} labels, but the teacher's head has {config.num_labels}."
            )
        return [normalise_tag(tag) for tag in given]
    tags = model_tags(config)
    if tags is None and config.num_labels == len(REFERENCE_TEACHER_LABELS):
        return list(REFERENCE_TEACHER_LABELS)
    if tags is None:
        raise UserError(
            f"The teacher's head has {config.num_labels} labels without names: list them, in order, with "
            "--teacher_labels (for example: --teacher_labels O B-GENE I-GENE E-GENE S-GENE)."
        )
    return tags
