"""JSON: texts with spans in characters, or words with tags, as annotation tools and libraries write them.

A file has a JSON value in each line, or (.json) is a list of them. Their keys say what they are; docs/formats.md has an
example of every kind.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any

from ...files import numbered_lines
from ...runtime.tags import OUTSIDE, UserError
from .documents import Document, Sentence, Span, make_document, mention_tags

# Where the spans of a text stand: hf_distill, Prodigy, spaCy and doccano, spaCy's Doc.to_json, doccano (two versions).
SPAN_KEYS = ("mentions", "spans", "entities", "ents", "label", "labels")
# Words and their tags, and GLiNER's token spans.
TOKEN_KEYS, TAG_KEYS = ("tokens", "words", "tokenized_text"), ("ner_tags", "tags", "labels")
START_KEYS, END_KEYS = ("start", "start_offset", "start_char"), ("end", "end_offset", "end_char")
ENTITY_KEYS = ("entity_group", "label", "entity", "type", "labels")


def read_json(
    path: str, token_column: str | None = None, tag_column: str | None = None
) -> Iterator[Document | Sentence | None]:
    """Yield what a file of JSON has: a document, a sentence with tags, or None for what an annotator has not accepted.

    Args:
        path: the file.
        token_column: key of words; None: one of TOKEN_KEYS.
        tag_column: key of tags; None: one of TAG_KEYS.

    Raises:
        UserError: `PATH:LINE:`, or `PATH, item N:` in a list.
    """
    for place, item in _items(path):
        yield parse_item(item, place, token_column, tag_column)


def _items(path: str) -> Iterator[tuple[str, Any]]:
    whole = path.lower().removesuffix(".gz").endswith(".json")
    lines: Iterable[tuple[int, str]] = ((number, line) for number, line in numbered_lines(path, whole) if line.strip())
    if whole:
        found = list(lines)
        text = "\n".join(line for _, line in found)
        if text.lstrip().startswith("["):
            items = _parse(text, path)
            yield from ((f"{path}, item {number}", item) for number, item in enumerate(items, 1))
            return
        lines = found
    for number, line in lines:
        yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def _parse(text: str, place: str) -> Any:
    try:
        item = json.loads(text)
        json.dumps(item, ensure_ascii=False).encode()  # fails for an unpaired surrogate
    except (ValueError, RecursionError) as error:
        hint = " A file has a JSON value in each line (.jsonl), or is a list of them (.json)."
        raise UserError(f"{place}: not valid JSON: {error}: {text[:80]!r:.200}.{hint}") from None
    return item


def parse_item(
    item: Any, place: str, token_column: str | None = None, tag_column: str | None = None
) -> Document | Sentence | None:
    """Read one text, as `read_json` does.

    Where there are `mentions`, as `predict` adds them to what it reads, they count and nothing else.
    """
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], dict):
        item = {"text": item[0]} | item[1]  # spaCy 2: (text, {"entities": [...]})
    if not isinstance(item, dict):
        raise UserError(f"{place}: expected an object with a text and its mentions, or words and tags: {item!r:.80}.")
    ours = isinstance(item.get("mentions"), list)
    text = item.get("text")
    if not ours and item.get("answer", "accept") != "accept":  # Prodigy, and `annotate`
        return None
    if not ours and isinstance(item.get("data"), dict):
        return _label_studio(item, place)
    if not (ours and isinstance(text, str)):
        tokens_key = _one_of(item, (token_column,) if token_column else TOKEN_KEYS, place)
        words = item[tokens_key] if tokens_key else []
        if tokens_key and (words or text is None) and not any(isinstance(word, dict) for word in words):
            if not ours and not tag_column:  # one annotation; which of two counts only the user knows
                _one_of(item, tuple(dict.fromkeys((*TAG_KEYS, "ner", *SPAN_KEYS))), place)
            return _sentence(item, tokens_key, (tag_column,) if tag_column else TAG_KEYS, place)
    if not isinstance(text, str):
        raise UserError(
            f"{place}: expected `text` with mentions ({', '.join(SPAN_KEYS)}), or words ({', '.join(TOKEN_KEYS)}) with "
            f"tags ({', '.join(TAG_KEYS)}; --token_column and --tag_column name others): its keys are "
            f"{', '.join(map(str, item)) or 'none':.200}."
        )
    key = "mentions" if ours else _one_of(item, SPAN_KEYS, place)
    if key is None:
        raise UserError(
            f"{place}: the text has no mentions ({', '.join(SPAN_KEYS)}); for one without any write an empty list: "
            f"{text[:60]!r:.200}."
        )
    spans = [span for each in item[key] for span in _spans(each, place)]
    return make_document(text, spans, place, _name(item), _sentences(item.get("sents"), place), source=_source(item))


def _source(item: Mapping) -> str:
    """Whose annotation it is, as `annotate` says it."""
    source = item.get("source")
    return "" if source is None else str(source)


def _name(item: Mapping) -> str:
    return "" if item.get("id") is None else str(item["id"])


def _sentences(sents: Any, place: str) -> list[tuple[int, int]]:
    """The sentences of spaCy's `Doc.to_json`."""
    found = []
    for each in sents or [] if isinstance(sents, list | None) else [sents]:
        start: Any = each.get("start") if isinstance(each, dict) else None
        end: Any = each.get("end") if isinstance(each, dict) else None
        if not _is_offset(start) or not _is_offset(end):
            raise UserError(f"{place}: no sentence with start and end: {each!r:.60}.")
        found.append((start, end))
    return found


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(item: Mapping, keys: tuple[str | None, ...], place: str) -> str | None:
    """The key that an item has; None if it has none.

    Raises:
        UserError: it has several with something in them.
    """
    found = [key for key in keys if isinstance(item.get(key), list)]
    full = [key for key in found if item[key]]
    if len(full) > 1:
        raise UserError(f"{place}: has both {' and '.join(f'`{key}`' for key in full)}: remove what does not count.")
    return (full or found or [None])[0]


def _spans(item: Any, place: str) -> list[Span]:
    """The span that an object or a triple describes, one for each label."""
    start: Any = None
    end: Any = None
    labels: Any = None
    score = None
    if isinstance(item, dict):
        start, end = (next((item[key] for key in keys if key in item), None) for keys in (START_KEYS, END_KEYS))
        labels = next((item[key] for key in ENTITY_KEYS if key in item), None)
        score = item.get("score")
    elif isinstance(item, list) and len(item) == 3:
        start, end, labels = item
    labels = labels if isinstance(labels, list) else [labels]
    if (
        not _is_offset(start)
        or not _is_offset(end)
        or not labels
        or not all(isinstance(label, str) for label in labels)
    ):
        raise UserError(f"{place}: no mention with start, end and label: {item!r:.80}.")
    if score is not None and (not isinstance(score, int | float) or isinstance(score, bool) or not abs(score) < 1e9):
        raise UserError(f"{place}: the score of a mention is a number, not {score!r:.40}.")
    return [Span(label, start, end, place, score) for label in labels]


def _label_studio(item: Mapping, place: str) -> Document | None:
    """A task of Label Studio's export: its last annotation, or, without one, its first prediction."""
    text = item["data"].get("text")
    if not isinstance(text, str):
        raise UserError(f"{place}: `data` has no `text`, only {', '.join(map(str, item['data'])) or 'nothing':.200}.")
    annotations, predictions = (_objects(item.get(key), place) for key in ("annotations", "predictions"))
    chosen = [each for each in annotations if not each.get("was_cancelled")][-1:] or predictions[: not annotations]
    if not chosen:
        return None
    results = _objects(chosen[0].get("result"), place)
    labels = [each for each in results if each.get("type") == "labels" and isinstance(each.get("value"), dict)]
    spans = [span for each in labels for span in _spans(each["value"] | {"score": each.get("score")}, place)]
    words = [each["value"].get("text") for each in labels for _ in _spans(each["value"], place)]
    left_out = {"annotations that are no labels": len(results) - len(labels)} if len(results) > len(labels) else {}
    return make_document(text, _in_characters(spans, words, text), place, _name(item), left_out=left_out)


def _objects(items: Any, place: str) -> list[Mapping]:
    items = items or []
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise UserError(f"{place}: expected a list of objects, not {items!r:.60}.")
    return items


def _in_characters(spans: list[Span], words: list[Any], text: str) -> list[Span]:
    """Spans whose offsets may count units of UTF-16, as browsers do, by the texts that they should have.

    Raises:
        UserError: they have others either way.
    """
    ways = [spans]
    if len(text.encode("utf-16-le")) > 2 * len(text):
        places = [0]  # of each unit, and the end, the character
        for number, letter in enumerate(text):
            places += [number] * (ord(letter) > 0xFFFF) + [number + 1]
        whole = [span for span in spans if 0 <= span.start < span.end < len(places)]
        ways.append([replace(span, start=places[span.start], end=places[span.end]) for span in whole])
    for way in ways:
        found = [text[span.start : span.end] for span in way]
        if len(found) == len(words) and all(word in (known, None) for word, known in zip(words, found, strict=True)):
            return way
    for span, word in zip(spans, words, strict=True):
        if word not in (text[span.start : span.end], None):
            raise UserError(
                f"{span.place}: the mention is {word!r:.200}, but {span.start} to {span.end} of the text is "
                f"{text[max(0, span.start) : max(0, span.end)]!r:.200}."
            )
    return spans


def _sentence(item: Mapping, tokens_key: str, tag_keys: tuple[str, ...], place: str) -> Sentence:
    """Words with tags, GLiNER's `ner`, or `mentions` in the words joined by blanks, as `predict` writes them."""
    tokens = item[tokens_key]
    for token in tokens:
        if not isinstance(token, str) or not token.strip(" ") or any(mark in token for mark in "\0\t\r\n"):
            raise UserError(f"{place}: a word that is no text, empty, or has a tab, line end or NUL: {token!r:.80}.")
    if not tokens:
        raise UserError(f"{place}: the sentence has no word.")
    ours = isinstance(item.get("mentions"), list)
    tags_key = None if ours else _one_of(item, tag_keys, place)
    if tags_key:
        tags = ["" if tag is None else str(tag) for tag in item[tags_key]]
        if len(tags) != len(tokens):
            raise UserError(f"{place}: {len(tokens)} words but {len(tags)} tags.")
        if "" in tags:
            raise UserError(f"{place}: the word {tokens[tags.index('')]!r:.200} has no tag.")
        return Sentence(list(tokens), tags, [place] * len(tokens), source=_source(item))
    if isinstance(item.get("ner"), list) and not ours:
        # GLiNER's ends are those of the last word.
        found = [(span, span.start, span.end + 1) for each in item["ner"] for span in _spans(each, place)]
    elif ours:
        ends = list(accumulate(len(token) + 1 for token in tokens))
        first = {end - 1 - len(token): number for number, (token, end) in enumerate(zip(tokens, ends, strict=True))}
        last = {end - 1: number for number, end in enumerate(ends, 1)}
        spans = [span for each in item["mentions"] for span in _spans(each, place)]
        found = [(span, first.get(span.start, -1), last.get(span.end, -1)) for span in spans]
    else:
        raise UserError(
            f"{place}: words (`{tokens_key}`) without tags: expected one of {', '.join(tag_keys)} (--tag_column names "
            "another), `ner` (spans of words) or `mentions`."
        )
    tags = [OUTSIDE] * len(tokens)
    scores: list[float | None] = [None] * len(tokens)
    for span, start, end in found:
        if not 0 <= start < end <= len(tokens):
            raise UserError(
                f"{place}: a mention of {span.entity:.80} that is not within its {len(tokens)} words, or cuts one."
            )
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise UserError(
                f"{place}: the mention of {span.entity:.80} at word {start + 1} overlaps another one: remove one."
            )
        tags[start:end] = mention_tags(span.entity, end - start)
        scores[start:end] = [span.score] * (end - start)
    return Sentence(list(tokens), tags, [place] * len(tokens), scores, _source(item))
