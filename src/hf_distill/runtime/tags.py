"""Tag schemes and label names.

A tag is `O` or a prefix, a hyphen and an entity type. Students have one of two schemes: IOB2 (`B-` begins a mention,
`I-` continues it) and IOBES (also `S-`, a mention of one word, and `E-`, the last word of a longer one). Conversion
between them is exact. `schemes.py` reads others.

This file is copied next to a saved model as remote code: it may import only modules of this folder. It must import
neither torch nor transformers.
"""

from collections.abc import Iterable, Sequence
from typing import Any

PREFIXES = {"IOB2": ("B", "I"), "IOBES": ("B", "I", "E", "S")}
OUTSIDE = "O"
LONGEST_MESSAGE = 2000  # characters of an error

# Prefixes that may follow a prefix within one mention; any other tag starts a new mention or is O.
_CONTINUES = {"IOB2": {"B": "I", "I": "I"}, "IOBES": {"B": "IE", "I": "IE"}}


class UserError(ValueError):
    """An error that the user can correct. The command line prints its message without a traceback.

    A message is cut in its middle if it is longer than LONGEST_MESSAGE: names and errors of libraries that stand in it
    may be of any length.
    """

    def __init__(self, message: str):
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[: 3 * LONGEST_MESSAGE // 4]} [...] {message[-LONGEST_MESSAGE // 4 :]}"
        super().__init__(message)


def config_place(config: Any) -> str:
    """Return what a message calls the file of a configuration, which may have been made without one."""
    name = getattr(config, "_name_or_path", "")
    return f"{name}/config.json" if name else "config.json"


def entity_types(tags: Iterable[str]) -> list[str]:
    """Return the distinct entity types of the tags, sorted."""
    return sorted({tag.partition("-")[2] for tag in tags if "-" in tag})


def make_tags(types: Iterable[str], scheme: str) -> list[str]:
    """Return a model's label list: `O`, then the tags of each entity type in the order of `PREFIXES`."""
    return [OUTSIDE, *(f"{prefix}-{entity}" for entity in types for prefix in PREFIXES[scheme])]


def detect_scheme(tags: Iterable[str]) -> str:
    """Return "IOBES" if any tag has the prefix E or S, else "IOB2". (Every IOBES mention has one of them.)"""
    return "IOBES" if any(tag[:2] in ("E-", "S-") for tag in tags) else "IOB2"


def can_follow(previous: str, tag: str, scheme: str) -> bool:
    """Whether `tag` may directly follow `previous`. Pass `O` for the start and the end of a sentence."""
    prefix, _, entity = tag.partition("-")
    previous_prefix, _, previous_entity = previous.partition("-")
    allowed = _CONTINUES[scheme].get(previous_prefix, "")
    if prefix in allowed and entity == previous_entity and prefix in ("I", "E"):
        return True
    # O or a new mention is valid unless the previous mention is incomplete (IOBES ends each with E or S).
    return prefix in ("O", "B", "S") and not (scheme == "IOBES" and previous_prefix in ("B", "I"))


def find_invalid(tags: Sequence[str], scheme: str) -> tuple[int, str] | None:
    """Find the first error of a tag sequence.

    Returns:
        None for a valid sequence, else (index, error message). The index of an unfinished mention is that of its `B-`
        tag.
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
    """Return the mentions of a valid sequence of either scheme as (entity type, first word, last word + 1)."""
    found: list[tuple[str, int, int]] = []
    for index, tag in enumerate(tags):
        prefix, _, entity = tag.partition("-")
        if prefix in ("B", "S"):
            found.append((entity, index, index + 1))
        elif prefix in ("I", "E"):
            found[-1] = (entity, found[-1][1], index + 1)
    return found


def convert_tags(tags: Sequence[str], scheme: str) -> list[str]:
    """Convert a valid tag sequence of either scheme to `scheme`. The mentions stay the same."""
    converted = [OUTSIDE] * len(tags)
    for entity, start, end in spans(tags):
        prefixes = ["B"] + ["I"] * (end - start - 1)
        if scheme == "IOBES":
            prefixes[-1] = "E" if end - start > 1 else "S"
        converted[start:end] = [f"{prefix}-{entity}" for prefix in prefixes]
    return converted


def iob2_names(tags: Sequence[str]) -> dict[int, str]:
    """Return the `id2label` of a saved model: IOB2 tags, because stock pipelines know only B- and I-."""
    iob2 = {"S-": "B-", "E-": "I-"}
    return {index: iob2.get(tag[:2], tag[:2]) + tag[2:] for index, tag in enumerate(tags)}
