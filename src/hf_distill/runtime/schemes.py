"""Label names of any tag scheme, read as tags of one form: `O`, or B-, I-, E- or S- and an entity type.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

import re
from collections.abc import Mapping, Sequence

from .tags import OUTSIDE, UserError

# The letters of each scheme, and what they mean in IOBES. In IOB1, B only separates neighbours of the same type.
SCHEMES = {
    "IOB2": {"B": "B", "I": "I"},
    "IOB1": {"B": "B", "I": "I"},
    "IOBES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "IO": {"I": "I"},
    "flat": {},
}
_LETTERS = "[BIESLUMW]"
_TYPE = r"(?P<type>\w(.*\S)?)"
_FORMS = [
    *(re.compile(f"(?P<letter>{_LETTERS}){separator}{_TYPE}") for separator in "-_"),
    *(re.compile(f"{_TYPE}{separator}(?P<letter>{_LETTERS})") for separator in "-_"),
    re.compile(f"(?P<letter>{_LETTERS})(?P<type>)"),
]
_SUFFIXED, _BARE = _FORMS[2:4], _FORMS[4]
# Names that look more like a slip of a tag than like an entity type.
_SLIP = re.compile(r".|[biesluwmo]\W.*|.*\W[biesluwm]|[a-z]_.*|.*_[a-z]", re.IGNORECASE)
# Classes of a head that are no tags of words.
_SPECIAL = re.compile(r"PAD|START|END|STOP|UNK|CLS|SEP|X|\[.+\]|<.+>", re.IGNORECASE)


def read_labels(
    labels: Mapping[str, str], scheme: str | None = None, entity_type: str | None = None
) -> tuple[str, dict[str, str]]:
    """Read label names: a letter of the scheme before or after the entity type (`B-LOC`, `B_LOC`, `LOC-B`), alone
    (`B`), or the bare entity type (`LOC`).

    Args:
        labels: the names, each with the place where it was found, for error messages.
        scheme: one of `SCHEMES`; None: detect it. B and I alone are taken for IOB2: only tag sequences tell it from
            IOB1.
        entity_type: the entity type of labels without one (B, I, O).

    Returns:
        The scheme, and the tag of each label: `O`, or B, I, E or S, a hyphen and the entity type.

    Raises:
        UserError: the names are of no scheme, of several, or not of `scheme`.

    Examples:
        >>> read_labels({"O": "", "U-LOC": "", "B-LOC": "", "L-LOC": ""})
        ('BILOU', {'O': 'O', 'U-LOC': 'S-LOC', 'B-LOC': 'B-LOC', 'L-LOC': 'E-LOC'})
    """
    names = [label for label in labels if label != OUTSIDE]
    if not names:
        return scheme or "IOB2", dict.fromkeys(labels, OUTSIDE)
    if scheme == "flat":
        return "flat", {name: name if name == OUTSIDE else f"I-{name}" for name in labels}
    readings = []
    for form in _FORMS:
        matches = [form.fullmatch(name) for name in names]
        parts = [(match["letter"], match["type"] or entity_type) for match in matches if match]
        letters = {letter for letter, _ in parts}
        fitting = [each for each in ([scheme] if scheme else ["IO", *SCHEMES]) if letters <= set(SCHEMES[each])]
        if len(parts) == len(names) and fitting:
            meaning = SCHEMES[fitting[0]]
            read = [f"{meaning[letter]}-{entity}" for letter, entity in parts]
            readings.append((form, fitting[0], letters, dict(zip(names, read, strict=True))))
    where = labels[names[0]]
    if not readings and scheme is None and _bare_types(labels, names):
        return read_labels(labels, "flat")
    if not readings:
        raise _unknown(labels, names, scheme)
    form, found, letters, tags = readings[0]
    if scheme is None and (len(readings) > 1 or (form in _SUFFIXED and len(letters) == 1)):
        raise UserError(
            f"{where}the tag {names[0]!r:.80} can be read in several ways: say which scheme it is of with "
            "--input_scheme (--teacher_scheme for a teacher's labels), flat for bare entity types."
        )
    if form is _BARE and not entity_type:
        raise UserError(
            f"{where}the tag {names[0]!r:.80} names no entity type: give one with --entity_type, such as "
            "--entity_type GENE."
        )
    return found, {name: tags.get(name, OUTSIDE) for name in labels}


def _bare_types(labels: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether the names are all bare entity types, and no slips."""
    odd = any(_SLIP.fullmatch(name) or name != name.strip() for name in names)
    tagged = any(form.fullmatch(name) for form in _FORMS for name in names)
    pairs = any(name[0] == "B" and f"I{name[1:]}" in labels for name in names)
    return OUTSIDE in labels and not (odd or tagged or pairs)


def _unknown(labels: Mapping[str, str], names: Sequence[str], scheme: str | None) -> UserError:
    """The error for the first name that is unlike the rest."""
    form = max(_FORMS, key=lambda each: sum(bool(each.fullmatch(name)) for name in names))
    matches = [form.fullmatch(name) for name in names]
    used = {match["letter"] for match in matches if match}
    best = scheme or max(SCHEMES, key=lambda each: len(used & set(SCHEMES[each])))
    odd = next((name for name, match in zip(names, matches, strict=True) if not match), None)
    if odd is None:
        odd = next(
            name for name, match in zip(names, matches, strict=True) if match and match["letter"] not in SCHEMES[best]
        )
        return UserError(f"{labels[odd]}unknown tag {odd!r:.80} in {best}, which has {', '.join(SCHEMES[best])}.")
    if OUTSIDE in labels and used == set():
        odd = next((name for name in names if _SLIP.fullmatch(name) or name != name.strip()), odd)
    return UserError(
        f"{labels[odd]}unknown tag {odd!r:.80}. A tag is O, or an upper-case letter of a tag scheme and an entity "
        "type, such as B-GENE, written alike in all tags, without blanks around it. If these tags are bare "
        "entity types (and O), say so: --input_scheme flat (--teacher_scheme flat for a teacher's labels)."
    )


def head_tags(labels: Sequence[str], scheme: str | None = None, entity_type: str | None = None) -> list[str]:
    """Return the tag of each class of a head, as `read_labels` does; classes such as PAD keep their names.

    Raises:
        UserError: the labels cannot be read.
    """
    words = {label: "" for label in labels if not _SPECIAL.fullmatch(label)}
    _, tags = read_labels(words, scheme, entity_type)
    return [tags.get(label, label) for label in labels]


def model_tags(config, scheme: str | None = None, entity_type: str | None = None) -> list[str] | None:
    """Return the tag of each class of a model's head, or None if its labels have no names (`LABEL_0`, ...).

    A student saved by this package stores its tags in `config.tags`, because its `id2label` holds IOB2 names.

    Raises:
        UserError: the labels cannot be read.
    """
    number = config.num_labels
    saved = getattr(config, "tags", None)
    if saved and len(saved) != number:
        raise UserError(f"config.json names {len(saved)} tags, but {number} labels (id2label).")
    if saved:
        return list(saved)
    if set(config.id2label) != set(range(number)):
        raise UserError(f"config.json names no labels from 0 to {number - 1}: {config.id2label!r:.80}.")
    labels = [config.id2label[index] for index in range(number)]
    if all(label == f"LABEL_{index}" for index, label in enumerate(labels)):
        return None
    return head_tags(labels, scheme, entity_type)
