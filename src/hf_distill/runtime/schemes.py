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
_LETTERS = "BIESLUMW"
_PREFIXED = re.compile(rf"(?P<letter>[{_LETTERS}])[-_](?P<type>\S(.*\S)?)")
_SUFFIXED = re.compile(rf"(?P<type>\S(.*\S)?)[-_](?P<letter>[{_LETTERS}])")
_BARE = re.compile(rf"(?P<letter>[{_LETTERS}])(?P<type>)")
# Labels that look more like a slip than like an entity type.
_ODD = re.compile(r".[-_]?|[a-z][-_].*|.*[-_][a-z]?")
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

    Example:
        >>> read_labels({"O": "", "U-LOC": "", "B-LOC": "", "L-LOC": ""})
        ('BILOU', {'O': 'O', 'U-LOC': 'S-LOC', 'B-LOC': 'B-LOC', 'L-LOC': 'E-LOC'})
    """
    names = [label for label in labels if label != OUTSIDE]
    counts = {form: sum(bool(form.fullmatch(name)) for name in names) for form in (_PREFIXED, _SUFFIXED, _BARE)}
    form = max(counts, key=lambda each: counts[each])  # how most names are written
    flat = scheme == "flat" or (scheme is None and not counts[form])
    odd = [name for name in names if (_ODD.fullmatch(name) if flat else not form.fullmatch(name))]
    if odd and scheme != "flat":
        raise UserError(
            f"{labels[odd[0]]}unknown tag {odd[0]!r}. A tag is O, or a letter of a tag scheme and an entity type, such "
            "as B-GENE, in all of them in the same order. If the tags are bare entity types, say so: --input_scheme "
            "flat (for a teacher's labels, --teacher_scheme flat)."
        )
    if flat:
        return ("flat" if names else "IOB2"), {name: name if name == OUTSIDE else f"I-{name}" for name in labels}
    if form is _BARE and not entity_type:
        raise UserError(
            f"{labels[names[0]]}the tag {names[0]!r} names no entity type: give one with --entity_type, such as "
            "--entity_type GENE."
        )
    matches = {name: match for name in names if (match := form.fullmatch(name))}
    parts = {name: (match["letter"], match["type"] or entity_type) for name, match in matches.items()}
    used = {letter for letter, _ in parts.values()}
    candidates = [scheme] if scheme else ["IO", *SCHEMES]
    found = next((each for each in candidates if used <= set(SCHEMES[each])), None)
    if found is None:
        best = scheme or max(SCHEMES, key=lambda each: len(used & set(SCHEMES[each])))
        other = next(name for name in names if parts[name][0] not in SCHEMES[best])
        raise UserError(f"{labels[other]}unknown tag {other!r} in {best}, which has {', '.join(SCHEMES[best])}.")
    tags = {name: f"{SCHEMES[found][letter]}-{entity}" for name, (letter, entity) in parts.items()}
    return found, {name: tags.get(name, OUTSIDE) for name in labels}


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
    saved = getattr(config, "tags", None)
    if saved:
        return list(saved)
    labels = [config.id2label[index] for index in range(config.num_labels)]
    if all(label == f"LABEL_{index}" for index, label in enumerate(labels)):
        return None
    return head_tags(labels, scheme, entity_type)
