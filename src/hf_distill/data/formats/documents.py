"""Documents with mentions by characters, and their way to sentences with a tag per word."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import Any, NamedTuple

from ...runtime.tags import OUTSIDE, UserError
from ...runtime.words import RULES, split_words

LISTED = 10  # faults named in a message
RULE_DOCUMENTS = 2000
MISALIGNED = {
    "split": "cuts the word there",
    "widen": "takes the whole word",
    "drop": "leaves the mention out",
}
NESTED = {
    "longest": "keeps the longest mention",
    "first": "keeps the mention that begins first (the longest of several)",
}


class Sentence(NamedTuple):
    """A sentence with a tag per word.

    Attributes:
        words: its words.
        tags: their tags.
        places: where each stands, `PATH:LINE`.
        scores: of each word the score of its mention; None if it has none. Empty: no mention has one.
        source: whose annotation it is; "" if the format does not say.
    """

    words: list[str]
    tags: list[str]
    places: list[str]
    scores: Sequence[float | None] = ()
    source: str = ""


@dataclass(frozen=True)
class Span:
    """A mention: its entity type, the character offsets in the text (`end` exclusive), and where that stands."""

    entity: str
    start: int
    end: int
    place: str
    score: float | None = None


@dataclass(frozen=True)
class Document:
    """A text with its mentions.

    Attributes:
        text: any text.
        spans: its mentions, in the order of the file; they may overlap.
        place: where it stands, `PATH:LINE`.
        name: the name that the file gives it; "" if none.
        sentences: character offsets of its sentences; empty where the format has none: then all of it is one.
        left_out: how many of what the format has beside mentions were left out, by what they are.
        source: whose annotation it is; "" if the format does not say.
    """

    text: str
    spans: list[Span]
    place: str
    name: str = ""
    sentences: list[tuple[int, int]] = field(default_factory=list)
    left_out: Mapping[str, int] = field(default_factory=dict)
    source: str = ""

    def mentions(self) -> list[dict[str, Any]]:
        """The mentions as dictionaries, as a `Tagger` gives them, in the order of the text."""
        found = [
            {
                "entity_group": span.entity,
                "start": span.start,
                "end": span.end,
                "word": self.text[span.start : span.end],
            }
            | ({} if span.score is None else {"score": span.score})
            for span in self.spans
        ]
        return sorted(found, key=lambda mention: (mention["start"], -mention["end"], mention["entity_group"]))


def mention_tags(entity: str, words: int) -> list[str]:
    """The tags of a mention in IOBES."""
    return [f"S-{entity}"] if words == 1 else [f"B-{entity}", *[f"I-{entity}"] * (words - 2), f"E-{entity}"]


def make_document(
    text: str,
    spans: Sequence[Span],
    place: str,
    name: str = "",
    sentences: Sequence[tuple[int, int]] = (),
    left_out: Mapping[str, int] | None = None,
    source: str = "",
) -> Document:
    """Make a document, if its spans are within its text.

    Raises:
        UserError: one is not, or is empty.
    """
    for span in spans:
        if not (0 <= span.start < span.end <= len(text)):
            raise UserError(
                f"{span.place}: the mention from {span.start} to {span.end} is not within its text of {len(text)} "
                "characters, or empty. Offsets count characters (not bytes), the end is exclusive."
            )
        if not span.entity or any(mark in span.entity for mark in "\t\r\n") or span.entity.strip() != span.entity:
            raise UserError(f"{span.place}: {span.entity!r:.200} is no name of an entity type.")
        if not text[span.start : span.end].strip():
            raise UserError(f"{span.place}: the mention from {span.start} to {span.end} has nothing but blanks.")
    for start, end in sentences:
        if not 0 <= start <= end <= len(text):
            raise UserError(f"{place}: the sentence from {start} to {end} is not within its text.")
    return Document(text, list(spans), place, name, list(sentences), left_out or {}, source)


def choose_word_rule(documents: Iterable[Document]) -> str:
    """Return the rule (`words.RULES`) that cuts the fewest mentions of the first documents (up to RULE_DOCUMENTS); of
    several rules the first, which is the finest.
    """
    cut = dict.fromkeys(RULES, 0)
    characters = False
    for document in islice(documents, RULE_DOCUMENTS):
        words = {rule: split_words(document.text, rule) for rule in RULES}
        characters |= words["characters"] != words["apart"]
        for rule, places in words.items():
            starts, ends = {start for start, _ in places}, {end for _, end in places}
            cut[rule] += sum(span.start not in starts or span.end not in ends for span in document.spans)
    # Without scripts that have no blanks, characters are words apart.
    return min((rule for rule in RULES if characters or rule != "characters"), key=lambda rule: cut[rule])


@dataclass
class Alignment:
    """How documents become sentences with tags in IOBES; to be used once for each corpus.

    Attributes:
        rule: how text is split into words, one of `words.RULES`; None: at blanks.
        misaligned: what becomes of a mention that begins or ends inside a word, one of `MISALIGNED`; None: a fault.
        nested: which of several mentions that overlap stays, one of `NESTED`; None: a fault.
        known: words of sentences that are split already, by their characters without blanks (`squeeze`). They are not
            cut: a mention that begins or ends inside one is widened where others are split.
        cut: the mentions that begin or end inside a word, with their texts.
        overlapping: the mentions that overlap one before them, with their texts.
    """

    rule: str | None
    misaligned: str | None = None
    nested: str | None = None
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cut: list[tuple[Span, str]] = field(default_factory=list)
    overlapping: list[tuple[Span, str]] = field(default_factory=list)

    def sentences(self, documents: Iterable[Document]) -> Iterator[Sentence]:
        """Yield the sentences of documents; without words there is none.

        Mentions that fit to no words are left out, where the arguments do not say otherwise: see `check`.
        """
        for document in documents:
            known = self.known.get(squeeze(document.text))
            words, spans = self._align(document, known)
            starts = [start for start, _ in words]
            tags = [OUTSIDE] * len(words)
            scores: list[float | None] = [None] * len(words)
            for span in spans:
                first, last = bisect_left(starts, span.start), bisect_left(starts, span.end)
                tags[first:last] = mention_tags(span.entity, last - first)
                scores[first:last] = [span.score] * (last - first)
            texts = list(known) if known else [document.text[start:end] for start, end in words]
            for first, last in [(0, len(words))] if known else self._bounds(document, words, spans):
                if last > first:
                    places = [document.place] * (last - first)
                    yield Sentence(texts[first:last], tags[first:last], places, scores[first:last], document.source)

    def check(self, documents: Iterable[Document]) -> None:
        """Go through documents; raise UserError if mentions fit to no words, or overlap, and nothing says what to do.

        The message lists the first LISTED of them.
        """
        for _ in self.sentences(documents):
            pass
        for faults, chosen, what, option, choices in (
            (self.cut, self.misaligned, "begin or end inside a word", "misaligned", MISALIGNED),
            (self.overlapping, self.nested, "overlap another one", "nested", NESTED),
        ):
            if faults and chosen is None:
                lines = [f"  {span.place}: {span.entity:.80} {text!r:.80}" for span, text in islice(faults, LISTED)]
                more = [f"  and {len(faults) - LISTED:,} more"] if len(faults) > LISTED else []
                ways = "; ".join(f"--{option} {name} {meaning}" for name, meaning in choices.items())
                words = f" (words: {self.rule or 'between blanks'})" if option == "misaligned" else ""
                raise UserError(
                    "\n".join([f"{len(faults):,} mention(s) {what}{words}:", *lines, *more, f"What to do: {ways}."])
                )

    def faults(self) -> dict[str, list[tuple[Span, str]]]:
        """What was met so far, by what was done with it."""
        return {
            f"mentions inside a word ({self.misaligned})": self.cut,
            f"mentions that overlap another one ({self.nested})": self.overlapping,
        }

    def _align(self, document: Document, known: Sequence[str] | None) -> tuple[list[tuple[int, int]], list[Span]]:
        """The words of a document (`known`, if they are), and the mentions that consist of whole ones, sorted, without
        overlaps.
        """
        misaligned = "widen" if known and self.misaligned == "split" else self.misaligned
        words = _places(known, document.text) if known else split(document.text, self.rule)
        starts, ends = [start for start, _ in words], [end for _, end in words]
        kept = []
        by_score = sorted(document.spans, key=lambda span: span.score or 0.0)
        for span in {(each.entity, each.start, each.end): each for each in by_score}.values():  # each once
            # Blanks at the ends of a mention are no words.
            first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
            if first >= last:  # of characters that are no words
                self.cut.append((span, document.text[span.start : span.end]))
                continue
            whole = replace(span, start=starts[first], end=ends[last - 1])
            if whole.start < span.start or whole.end > span.end:
                self.cut.append((span, document.text[span.start : span.end]))
                if misaligned == "split":
                    whole = replace(span, start=max(whole.start, span.start), end=min(whole.end, span.end))
                elif misaligned != "widen":
                    continue
            kept.append(whole)

        def rank(span: Span) -> tuple:
            longest = span.start - span.end if self.nested == "longest" else 0
            return longest, span.start, -span.end, -(span.score or 0.0), span.entity

        chosen: list[Span] = []  # sorted
        for span in sorted(kept, key=rank):
            place = bisect_left(chosen, span.start, key=lambda other: other.start)
            beside = chosen[max(0, place - 1) : place + 1]
            if any(span.start < other.end and other.start < span.end for other in beside):
                self.overlapping.append((span, document.text[span.start : span.end]))
            else:
                chosen.insert(place, span)
        return _cut(words, {place for span in chosen for place in (span.start, span.end)}), chosen

    def _bounds(
        self, document: Document, words: Sequence[tuple[int, int]], spans: Sequence[Span]
    ) -> list[tuple[int, int]]:
        """First and last word (exclusive) of each sentence. One does not end inside a mention."""
        starts = [start for start, _ in words]
        ends = {bisect_left(starts, end) for _, end in document.sentences}
        for span in spans if ends else ():
            ends -= set(range(bisect_left(starts, span.start) + 1, bisect_left(starts, span.end)))
        bounds = [0, *sorted(ends - {0, len(words)}), len(words)]
        return list(zip(bounds, bounds[1:], strict=False))


def split(text: str, rule: str | None) -> list[tuple[int, int]]:
    """Return the character offsets (end exclusive) of the words of a text, by one of `words.RULES`; None: at blanks."""
    return split_words(text, rule) if rule else [match.span() for match in re.finditer("[^ \t\r\n]+", text)]


def squeeze(text: str) -> str:
    """Return a text without its blanks."""
    return "".join(text.split())


def _places(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Return the offsets of words in a text that differs from them in blanks alone."""
    letters = [place for place, letter in enumerate(text) if not letter.isspace()]
    ends = list(accumulate(len(squeeze(word)) for word in words))
    return [(letters[start], letters[end - 1] + 1) for start, end in zip([0, *ends], ends, strict=False)]


def _cut(words: Sequence[tuple[int, int]], places: set[int]) -> list[tuple[int, int]]:
    """Words, cut at places inside them."""
    order, pieces = sorted(places), []
    for start, end in words:
        bounds = [start, *order[bisect_right(order, start) : bisect_left(order, end)], end]
        pieces += list(zip(bounds, bounds[1:], strict=False))
    return pieces
