"""What a labeller is, and what it answers."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..runtime.tags import UserError


@dataclass(frozen=True)
class Answer:
    """The answer to one text.

    Attributes:
        mentions: dictionaries as those of a `Tagger`, with a score where the labeller has one; None: there is no
            answer.
        error: why there is none.
        counts: what was used and left out for it, by what that is.
    """

    mentions: list[dict[str, Any]] | None
    error: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


class Labeller(Protocol):
    """Finds mentions in texts. It is made of the name of its model and the arguments of the command."""

    def annotate(self, texts: Iterable[str]) -> Iterator[Answer]:
        """Yield the answers to texts, in their order, reading no more of them ahead than it works on.

        Raises:
            UserError: there will be no further answers; those before it count.
        """
        ...


def make_mention(text: str, entity: str, start: int, end: int) -> dict[str, Any]:
    """Return a mention as a dictionary."""
    return {"entity_group": entity, "start": start, "end": end, "word": text[start:end]}


def choose_labels(wanted: Sequence[str], known: Collection[str], model: str) -> set[str]:
    """Return the labels wanted of those that a model has; all, if none are named.

    Raises:
        UserError: it has no such labels.
    """
    if not known:
        raise UserError(f"{model}: has no labels of entities.")
    if missing := [label for label in wanted if label not in known]:
        raise UserError(f"{model}: has no label {', '.join(missing)}; it has {', '.join(sorted(known))}.")
    return set(wanted or known)
