"""Error analysis: assigns each gold and each predicted mention to one kind."""

from collections.abc import Sequence

# The kinds, with the descriptions that the report shows.
KINDS = {
    "right": "a gold and a predicted mention with the same boundaries and type",
    "type": "the same boundaries, but another type",
    "boundary": "the two overlap, but their boundaries differ",
    "missed": "a gold mention that overlaps no predicted one",
    "spurious": "a predicted mention that overlaps no gold one",
}

# Entity type, first word, last word + 1.
Mention = tuple[str, int, int]


def classify_errors(gold: Sequence[Mention], found: Sequence[Mention]) -> tuple[list[str], list[str]]:
    """Classify the mentions of a sentence.

    Args:
        gold: the gold mentions, without overlaps.
        found: the predicted mentions, without overlaps.

    Returns:
        The kind of each gold mention (`right`, `type`, `boundary` or `missed`) and of each predicted one (`right`,
        `type`, `boundary` or `spurious`).
    """
    return _kinds(gold, found, "missed"), _kinds(found, gold, "spurious")


def _kinds(mentions: Sequence[Mention], others: Sequence[Mention], without_overlap: str) -> list[str]:
    kinds = []
    for mention in mentions:
        _, start, end = mention
        if mention in others:
            kinds.append("right")
        elif any((start, end) == other[1:] for other in others):
            kinds.append("type")
        else:
            kinds.append(
                "boundary" if any(start < other[2] and other[1] < end for other in others) else without_overlap
            )
    return kinds
