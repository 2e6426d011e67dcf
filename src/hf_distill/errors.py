"""How a model errs: every mention, gold or found, falls under one kind."""

from collections.abc import Sequence

# In the words of a report: kinds are told apart by what a gold and a found mention share.
KINDS = {
    "right": "found with the same ends and the same type",
    "type": "found with the same ends, but as another type",
    "boundary": "found in part or with more words: the two overlap, but their ends differ",
    "missed": "a gold mention that no found one overlaps",
    "spurious": "a found mention that overlaps no gold one",
}

# Entity type, first word, last word + 1.
Mention = tuple[str, int, int]


def judge(gold: Sequence[Mention], found: Sequence[Mention]) -> tuple[list[str], list[str]]:
    """The kinds of a sentence's mentions.

    Args:
        gold: the true mentions, none of which overlap.
        found: a model's mentions, none of which overlap.

    Returns:
        For each gold mention `right`, `type`, `boundary` or `missed`, and for each found one `right`, `type`,
        `boundary` or `spurious`.
    """
    return _kinds(gold, found, "missed"), _kinds(found, gold, "spurious")


def _kinds(mentions: Sequence[Mention], others: Sequence[Mention], alone: str) -> list[str]:
    kinds = []
    for mention in mentions:
        _, start, end = mention
        if mention in others:
            kinds.append("right")
        elif any((start, end) == other[1:] for other in others):
            kinds.append("type")
        else:
            kinds.append("boundary" if any(start < other[2] and other[1] < end for other in others) else alone)
    return kinds
